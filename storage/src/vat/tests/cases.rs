//! Single promises of the tree, one each, and trees that no honest program wrote.

use super::*;

#[test]
fn ascending_keys_leave_full_nodes() {
    let (mut tree, cache) = (Tree::empty(Arc::default()), NodeCache::new(1));
    for n in 0..20_000u64 {
        tree.put(&cache, Generation(1), &n.to_be_bytes(), &[7; 100], &mut Released::default()).unwrap();
    }
    let leaves: Vec<_> = tree.dirty_links().iter().filter_map(|link| link.held()).filter(|node| node.level() == 0).collect();
    let filled: usize = leaves.iter().map(|leaf| leaf.used()).sum();
    assert!(filled * 100 / (leaves.len() * 4 * 4096) >= 95, "{filled} in {}", leaves.len());
}

#[test]
fn the_largest_rows_and_the_longest_separators_fit() {
    let mut world = World::new(1 << 20, false);
    for n in 0..600u64 {
        let mut key = vec![b'x'; ROW_MAX_BYTES - 8];
        key.extend(mix(5, n).to_be_bytes());
        world.put(&key, &[]);
        world.put(&n.to_be_bytes(), &[1; ROW_MAX_BYTES - 8]);
    }
    assert!(world.tree.height(&world.source()).unwrap() > 3);
    let too_long = world.tree.clone().put(&world.cache, world.birth, &[0; 500], &[0; 501], &mut Released::default());
    assert!(matches!(too_long, Err(NodeError::RowTooLong { bytes: 1001 })));
    world.begin_checkpoint();
    world.go_on_with_checkpoint(usize::MAX);
    world.recount();
    for n in (0..600u64).rev() {
        world.remove(&n.to_be_bytes());
    }
    world.recount();
    world.finish();
}

#[test]
fn the_smallest_rows_fit_their_clusters() {
    let mut world = World::new(1 << 20, false);
    for n in 0..30_000u64 {
        let n = mix(9, n) as u16;
        world.put(&n.to_be_bytes(), &[]);
    }
    world.finish();
}

#[test]
fn a_damaged_node_is_an_error_with_its_name() {
    let mut world = World::new(1, false);
    world.put(b"a key", b"a value");
    world.begin_checkpoint();
    world.go_on_with_checkpoint(usize::MAX);
    let ptr = world.tree.root().unwrap().ptr().unwrap();
    world.store.nodes.borrow_mut().get_mut(&ptr.address).unwrap()[100] ^= 1;
    assert!(matches!(world.tree.get(&world.source(), b"a key"), Err(NodeError::Damaged { ptr: named, .. }) if named == ptr));
    let other = LoadingSource::new(&world.cache, TreeId::Volume, |ptr: &NodePtr| world.store.load(ptr));
    world.store.nodes.borrow_mut().get_mut(&ptr.address).unwrap()[100] ^= 1;
    assert!(world.tree.get(&world.source(), b"a key").unwrap().is_some());
    assert!(matches!(world.tree.get(&other, b"a key"), Err(NodeError::Damaged { .. })));
    assert!(matches!(world.tree.get(&NodeCache::new(1), b"a key"), Err(NodeError::Miss(named)) if named == ptr));
}

#[test]
fn opening_reads_nothing_and_a_read_reads_one_path() {
    let mut world = World::new(64 << 20, false);
    (0..KEYS).for_each(|n| world.put(&key(n), &value(n)));
    world.begin_checkpoint();
    world.go_on_with_checkpoint(usize::MAX);
    let root = world.tree.root().unwrap().ptr();
    world.cache = NodeCache::new(64 << 20);
    *world.store.loads.borrow_mut() = 0;
    let tree = Tree::open(root, Arc::default());
    assert_eq!(*world.store.loads.borrow(), 0);
    assert_eq!(tree.get(&world.source(), &key(77)).unwrap().as_deref(), Some(value(77).as_slice()));
    let path = tree.path(&world.source(), &key(77)).unwrap();
    assert_eq!(*world.store.loads.borrow(), path.len());
    assert_eq!(path.len(), usize::from(tree.height(&world.source()).unwrap()));
}

#[test]
fn a_change_that_misses_leaves_the_contents_and_the_count_right() {
    let mut world = World::new(64 << 20, false);
    (0..KEYS).for_each(|n| world.put(&key(n), &value(n)));
    world.begin_checkpoint();
    world.go_on_with_checkpoint(usize::MAX);
    let mut tree = world.tree.clone();
    let mut pinned = Pinned::over(&world.cache);
    let root = tree.root().unwrap().ptr().unwrap();
    let nothing = NodeCache::new(1);
    pinned.hold(&root, world.source().node(&root).unwrap());
    let mut only_root = Pinned::over(&nothing);
    only_root.hold(&root, pinned.node(&root).unwrap());
    let result = tree.put(&only_root, world.birth, &key(5), b"new", &mut world.released);
    assert!(matches!(result, Err(NodeError::Miss(_))));
    drop((pinned, only_root));
    world.tree = tree;
    assert_eq!(world.released.0.len(), 1);
    world.recount();
    world.compare(&world.tree, &world.model);
    world.finish();
}

#[test]
fn only_what_is_dirty_and_of_this_birth_is_edited_in_place() {
    let (mut tree, cache, mut released) = (Tree::empty(Arc::default()), NodeCache::new(1), Released::default());
    let put = |tree: &mut Tree, birth: u64, released: &mut Released| {
        tree.put(&cache, Generation(birth), b"key", &birth.to_be_bytes(), released).unwrap();
        Arc::as_ptr(tree.root().unwrap())
    };
    let first = put(&mut tree, 1, &mut released);
    assert_eq!(put(&mut tree, 1, &mut released), first, "edited in place");
    assert_ne!(put(&mut tree, 2, &mut released), first, "an older birth is another version");
    assert!(matches!(released.0.as_slice(), [ReleasedNode::Pending(_)]));
    let root = Arc::clone(tree.root().unwrap());
    let ptr = Store::default().write(&encode_node(TreeId::Name, &root.held().unwrap(), Generation(2)).unwrap());
    assert!(root.detach().is_none(), "a dirty node stays");
    assert!(root.assign(ptr) && !root.assign(ptr));
    let placed = Arc::as_ptr(&root);
    drop(root);
    assert_ne!(put(&mut tree, 2, &mut released), placed, "a placed version is never edited");
    assert!(matches!(released.0.as_slice(), [_, ReleasedNode::Placed(freed)] if *freed == ptr));
}

#[test]
fn a_node_with_thin_pages_is_packed_before_it_is_split() {
    let (mut tree, cache, mut released) = (Tree::empty(Arc::default()), NodeCache::new(1), Released::default());
    let key = |n: u64| (n * 2).to_be_bytes();
    let birth = Generation(1);
    let rows = 4 * (4096 / (10 + 8 + 200));
    for n in 0..rows {
        tree.put(&cache, birth, &key(n), &[1; 200], &mut released).unwrap();
    }
    for n in (0..rows * 3 / 4).filter(|n| n % 18 >= 6) {
        tree.remove(&cache, birth, &key(n), &mut released).unwrap();
    }
    let leaf = tree.dirty_links()[0].held().unwrap();
    assert_eq!((leaf.page_count(), tree.dirty_links().len()), (4, 1));
    drop(leaf);
    tree.put(&cache, birth, &(rows * 2 - 9).to_be_bytes(), &[1; 200], &mut released).unwrap();
    assert_eq!(tree.dirty_links().len(), 1);
}

/// Leaves with keys that do not belong where they stand, under checksums that are right.
fn hostile_tree(store: &Store, shape: &[(u64, u64)]) -> Tree {
    let place = |node: &Node| store.write(&encode_node(TreeId::Name, node, Generation(9)).unwrap());
    let mut separator = 0u64;
    let children = shape.iter().enumerate().map(|(number, &(from, count))| {
        separator += 1 + from % 5;
        let key = if number == 0 { Vec::new() } else { key(separator * 16) };
        (key, Link::placed(place(&leaf_node(from, 1 + count))))
    });
    let root = Node::of(1, Generation(4), children.collect::<Vec<_>>());
    Tree::open(Some(place(&root)), Arc::default())
}

proptest! {
    #[test]
    fn a_tree_whose_keys_lie_never_panics(
        shape in prop::collection::vec((0u64..400, 0u64..17), 1..12), ops in prop::collection::vec((0u64..420, any::<u64>(), 0u8..4), 1..200)
    ) {
        let (store, cache) = (Store::default(), NodeCache::new(8 << 20));
        let mut tree = hostile_tree(&store, &shape);
        let source = LoadingSource::new(&cache, TreeId::Name, |ptr: &NodePtr| store.load(ptr));
        let mut released = Released::default();
        for (n, seed, what) in ops {
            let _any = match what {
                0 => tree.put(&source, Generation(10), &key(n), &value(seed), &mut released).map(|_| ()),
                1 => tree.remove(&source, Generation(10), &key(n), &mut released).map(|_| ()),
                2 => tree.put(&source, Generation(10), &key(n)[..(seed % 9) as usize], &[], &mut released).map(|_| ()),
                _ => tree.last_before(&source, &key(n)).map(|_| ()),
            };
        }
        let _rows = tree.range(&source, &[], None).take(2000).count();
    }
}

#[test]
fn places_can_be_planned_anew_until_they_are_assigned() {
    let (mut tree, cache) = (Tree::empty(Arc::default()), NodeCache::new(8 << 20));
    (0..500).for_each(|n| drop(tree.put(&cache, Generation(1), &key(n), &value(n), &mut Released::default()).unwrap()));
    let store = Store::default();
    let links = tree.dirty_links();
    assert!(encode_node(TreeId::Name, &tree.root().unwrap().held().unwrap(), Generation(2)).is_err(), "children first");
    for _attempt in 0..2 {
        let mut plan = HashMap::new();
        for link in &links {
            let place = |child: &Arc<Link>| plan.get(&Arc::as_ptr(child)).copied();
            let encoded = encode_node_with(TreeId::Name, &link.held().unwrap(), Generation(2), place).unwrap();
            plan.insert(Arc::as_ptr(link), store.write(&encoded));
        }
        let root = plan.get(&Arc::as_ptr(tree.root().unwrap())).copied();
        let source = LoadingSource::new(&cache, TreeId::Name, |ptr: &NodePtr| store.load(ptr));
        let written = Tree::open(root, Arc::default());
        assert!((0..500).all(|n| written.get(&source, &key(n)).unwrap().is_some_and(|row| *row == value(n))));
    }
    assert!(tree.root().unwrap().ptr().is_none());
}
