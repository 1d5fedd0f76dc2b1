//! The runtime of a mounted volume: pools of actix actors, each on a system and a thread of its own, that visit the slots they are
//! called for.
//!
//! Owns: the threads, the timer, their start and their orderly stop. Must be true: RUN-1: a call is sent while the pool's members are
//! held, so a member that is let go has had its last; RUN-2; nothing unwinds into actix, since turns do not. Fails: `RuntimeError::
//! Thread` when a thread does not start; a resize that fails leaves the pool as it was.

use super::alarm::Alarm;
use super::{Action, Home, Roster, Runtime, RuntimeError, delay_us};
use crate::clock::{Clock, RealClock};
use crate::effects;
use crate::slot::Runnable;
use actix::{Actor, Addr, Handler, Message, System};
use parking_lot::{Mutex, RwLock};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Microseconds that an orderly stop waits for the slots to come to rest.
const STOP_US: u64 = 10_000_000;

/// The actix actor: it owns nothing, and visits.
struct Member {
    load: Arc<Load>,
    clock: Arc<dyn Clock>,
}

/// What the threads of a pool do.
#[derive(Default)]
struct Load {
    /// Threads that visit a slot now.
    busy: AtomicUsize,
    /// Microseconds of visits so far, those that have ended.
    busy_us: AtomicU64,
}

impl Actor for Member {
    type Context = actix::Context<Self>;
}

struct Visit(Arc<dyn Runnable>);

impl Message for Visit {
    type Result = ();
}

/// Answered when all that was sent before is done.
struct Barrier(flume::Sender<()>);

impl Message for Barrier {
    type Result = ();
}

/// The last message.
struct Quit;

impl Message for Quit {
    type Result = ();
}

impl Handler<Visit> for Member {
    type Result = ();
    fn handle(&mut self, visit: Visit, _: &mut Self::Context) {
        self.load.busy.fetch_add(1, Ordering::Relaxed);
        let began_us = self.clock.now_us();
        visit.0.visit();
        self.load.busy_us.fetch_add(self.clock.now_us().saturating_sub(began_us), Ordering::Relaxed);
        self.load.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Handler<Barrier> for Member {
    type Result = ();
    fn handle(&mut self, barrier: Barrier, _: &mut Self::Context) {
        let _ = barrier.0.send(());
    }
}

impl Handler<Quit> for Member {
    type Result = ();
    fn handle(&mut self, _: Quit, _: &mut Self::Context) {
        System::current().stop();
    }
}

struct Thread {
    member: Addr<Member>,
    thread: JoinHandle<()>,
}

impl Thread {
    fn start(pool: &'static str, number: usize, load: &Arc<Load>, clock: &Arc<dyn Clock>) -> Result<Self, RuntimeError> {
        let (sender, receiver) = flume::bounded(1);
        let (load, clock) = (load.clone(), clock.clone());
        // Nobody waits for descriptors there: the driver that would need some of its own, in each thread, is left out.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = runtime.map_err(|source| RuntimeError::Thread { pool, source })?;
        let run = move || {
            let system = System::with_tokio_rt(move || runtime);
            let member = system.block_on(async { Member { load, clock }.start() });
            let _ = sender.send(member);
            if let Err(error) = system.run() {
                tracing::error!(pool, number, %error, "a system of actix ended with an error");
            }
        };
        let failed = |source| RuntimeError::Thread { pool, source };
        let thread = thread::Builder::new().name(format!("infmap-{pool}-{number}")).spawn(run).map_err(failed)?;
        let member = receiver.recv().map_err(|_| failed(io::Error::other("its system of actix did not start")))?;
        Ok(Self { member, thread })
    }

    /// Lets threads do what was sent to them, and waits for their end; not for this thread's.
    fn quit(threads: Vec<Self>) {
        threads.iter().for_each(|thread| thread.member.do_send(Quit));
        for Self { thread, .. } in threads {
            if thread.thread().id() != thread::current().id() && thread.join().is_err() {
                tracing::error!("a thread of a pool had panicked");
            }
        }
    }
}

struct Pool {
    name: &'static str,
    threads: RwLock<Vec<Thread>>,
    load: Arc<Load>,
}

impl Pool {
    fn send_to_all<M>(&self, message: impl Fn() -> M)
    where
        M: Message + Send + 'static,
        M::Result: Send,
        Member: Handler<M>,
    {
        self.threads.read().iter().for_each(|thread| thread.member.do_send(message()));
    }
}

/// Pools of actix actors.
pub struct ActixPools {
    clock: Arc<dyn Clock>,
    pools: Vec<Pool>,
    roster: Roster,
    alarm: Arc<Alarm>,
    alarm_thread: Mutex<Option<JoinHandle<()>>>,
    /// One resize or stop at a time.
    changing: Mutex<()>,
    stopped: AtomicBool,
}

impl ActixPools {
    /// Starts pools by name, each with its number of threads (at least one).
    ///
    /// # Errors
    /// A thread does not start; those that did are stopped.
    pub fn start(pools: &[(&'static str, usize)]) -> Result<Arc<Self>, RuntimeError> {
        let clock: Arc<dyn Clock> = Arc::new(RealClock::new());
        let alarm = Arc::<Alarm>::default();
        let runtime = Arc::new(Self {
            clock: clock.clone(),
            pools: pools.iter().map(|(name, _)| Pool { name, threads: RwLock::default(), load: Arc::default() }).collect(),
            roster: Roster::default(),
            alarm: alarm.clone(),
            alarm_thread: Mutex::default(),
            changing: Mutex::default(),
            stopped: AtomicBool::new(false),
        });
        for (name, threads) in pools {
            runtime.resize(name, *threads).inspect_err(|_| runtime.stop())?;
        }
        let thread = thread::Builder::new().name("infmap-timer".into()).spawn(move || alarm.run(&*clock));
        let thread = thread.map_err(|source| RuntimeError::Thread { pool: "timer", source }).inspect_err(|_| runtime.stop())?;
        *runtime.alarm_thread.lock() = Some(thread);
        Ok(runtime)
    }

    /// Changes how many threads run the slots of a pool (at least one). Queues and state do not move: from here on other threads are
    /// called. Returns when the threads let go have had their last visit.
    ///
    /// # Errors
    /// No such pool, or a thread does not start: the pool stays as it was.
    pub fn resize(&self, pool: &'static str, threads: usize) -> Result<(), RuntimeError> {
        let _one = self.changing.lock();
        if self.stopped.load(Ordering::Acquire) {
            return Err(RuntimeError::Stopped);
        }
        let pool = self.pool(pool)?;
        let (now, wanted) = (pool.threads.read().len(), threads.max(1));
        let mut started = Vec::new();
        for number in now..wanted {
            match Thread::start(pool.name, number, &pool.load, &self.clock) {
                Ok(thread) => started.push(thread),
                Err(error) => {
                    Thread::quit(started);
                    return Err(error);
                }
            }
        }
        let mut members = pool.threads.write();
        members.extend(started);
        let gone = members.split_off(wanted);
        drop(members);
        // Callers hold the members while they send, so those that are gone have been sent their last call.
        Thread::quit(gone);
        Ok(())
    }

    /// Threads of a pool; 0 if there is no such pool.
    #[must_use]
    pub fn threads(&self, pool: &str) -> usize {
        self.pools.iter().find(|known| known.name == pool).map_or(0, |pool| pool.threads.read().len())
    }

    fn pool(&self, name: &'static str) -> Result<&Pool, RuntimeError> {
        self.pools.iter().find(|pool| pool.name == name).ok_or(RuntimeError::NoSuchPool(name))
    }

    /// Orderly stop: the timer ends, the slots come to rest (10 s at most), are closed so that whatever still waits is answered, and
    /// the threads end. From then on what is posted is dropped and thereby answered. Not from a thread of a pool.
    pub fn stop(&self) {
        debug_assert!(!effects::is_inside(), "a turn cannot stop the runtime that runs it");
        let _one = self.changing.lock();
        self.alarm.stop();
        if let Some(thread) = self.alarm_thread.lock().take() {
            let _ = thread.join();
        }
        let end_us = self.clock.now_us().saturating_add(STOP_US);
        while !self.stopped.load(Ordering::Acquire) {
            self.pass_barrier();
            if self.roster.is_quiet() || self.clock.now_us() > end_us {
                break;
            }
        }
        self.stopped.store(true, Ordering::Release);
        self.roster.close();
        for pool in &self.pools {
            let gone = std::mem::take(&mut *pool.threads.write());
            Thread::quit(gone);
        }
    }

    /// Returns when every thread has done what was sent to it before.
    fn pass_barrier(&self) {
        let (sender, receiver) = flume::unbounded();
        self.pools.iter().for_each(|pool| pool.send_to_all(|| Barrier(sender.clone())));
        drop(sender);
        while receiver.recv().is_ok() {}
    }
}

impl Runtime for ActixPools {
    fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    fn wake(&self, slot: Arc<dyn Runnable>) {
        let Home { pool, index } = slot.home();
        if let Ok(pool) = self.pool(pool) {
            let threads = pool.threads.read();
            if let Some(thread) = threads.get(index % threads.len().max(1)) {
                return thread.member.do_send(Visit(slot));
            }
        }
        slot.close();
    }

    fn after(&self, delay: Duration, action: Action) {
        self.alarm.set(self.clock.now_us().saturating_add(delay_us(delay)), action);
    }

    fn adopt(&self, slot: &Arc<dyn Runnable>) -> Result<(), RuntimeError> {
        self.pool(slot.home().pool)?;
        if self.stopped.load(Ordering::Acquire) {
            return Err(RuntimeError::Stopped);
        }
        self.roster.add(slot);
        Ok(())
    }

    fn slots(&self) -> Vec<Arc<dyn Runnable>> {
        self.roster.living()
    }

    #[expect(clippy::cast_precision_loss, reason = "gauges are floating")]
    fn publish(&self) {
        let dead = self.roster.publish(self.clock.now_us());
        for pool in &self.pools {
            let threads = pool.threads.read().len();
            let busy = pool.load.busy.load(Ordering::Relaxed).min(threads);
            let number = |threads: usize| u32::try_from(threads).unwrap_or(u32::MAX);
            let dead = dead.get(pool.name).copied().unwrap_or(0);
            for (state, number) in [("busy", number(busy)), ("idle", number(threads - busy)), ("dead", dead)] {
                metrics::gauge!("infmap_actor_workers", "pool" => pool.name, "state" => state).set(number);
            }
            let busy_us = pool.load.busy_us.load(Ordering::Relaxed) as f64;
            metrics::gauge!("infmap_actor_busy_seconds_total", "pool" => pool.name).set(busy_us / 1e6);
        }
    }
}
