//! Many files at once, in a volume of this process: `cargo run -p infmap-actors --example batch`.
//!
//! `write_many` makes all of them or none, also if power fails; `stat_many`, `read_many` and `warm` answer for each by itself. An answer is a
//! future: it is awaited here on an executor of three lines, as any other would do.

use infmap_actors::Volume;
use infmap_actors::api::{NewNode, Refusal};
use infmap_actors::settings::Settings;
use infmap_actors::volume::{NewFile, ReadPart, Which};
use infmap_storage::row::ROOT_INODE;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    let (mut future, waker) = (pin!(future), Waker::from(Arc::new(Unpark(std::thread::current()))));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

fn file(number: usize) -> NewFile {
    let name = format!("note{number}").into_bytes();
    let node = NewNode { parent: ROOT_INODE, name, mode: 0o100_644, umask: 0o022, uid: 0, gid: 0, rdev: 0 };
    NewFile { node, content: format!("this is note {number}").into_bytes(), replace: false }
}

async fn run(volume: &Volume) -> Result<(), Refusal> {
    let made = volume.ask(|replier| volume.write_many((0..500).map(file).collect(), replier)).await?;
    println!("{} files are there", made.len());
    // One of these names is taken: of the others none is made.
    let again = volume.ask(|replier| volume.write_many(vec![file(1000), file(7)], replier)).await;
    println!("with a name that exists: {}", again.err().map_or_else(String::new, |refusal| refusal.to_string()));
    // For what is to survive a power cut: the names, and with them the contents.
    volume.ask(|replier| volume.sync(ROOT_INODE, false, replier)).await?;
    let which: Vec<Which> = ["note3", "note1000", "note499"].map(|name| Which::Name { parent: ROOT_INODE, name: name.into() }).into();
    for (which, read) in which.iter().zip(volume.ask(|replier| volume.read_many(parts(&which), replier)).await?) {
        match read {
            Ok(bytes) => println!("{which:?}: {}", String::from_utf8_lossy(&bytes)),
            Err(refusal) => println!("{which:?}: {refusal}"),
        }
    }
    Ok(())
}

fn parts(which: &[Which]) -> Vec<ReadPart> {
    which.iter().cloned().map(ReadPart::whole).collect()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let volume = Volume::in_memory(Settings::default())?;
    wait(run(&volume))?;
    volume.close()?;
    Ok(())
}
