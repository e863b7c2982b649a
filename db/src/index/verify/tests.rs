use super::*;
use crate::edn;
use crate::index::Life;
use crate::index::segment::{MemorySegments, Rows, Segment, Sizes, Source};
use crate::model::{Datom, Instant};
use crate::tx::{Functions, TxLimits, transact};
use crate::{Db, Error};
use std::sync::Arc;

/// Nodes as they are in memory, one of them changed.
struct Changed {
    kept: Arc<MemorySegments>,
    id: SegmentId,
    segment: Option<Arc<Segment>>,
}

impl Source for Changed {
    fn fetch(&self, id: &SegmentId) -> Result<Arc<Segment>> {
        match &self.segment {
            _ if *id != self.id => self.kept.fetch(id),
            Some(segment) => Ok(segment.clone()),
            None => Err(Error::not_found("db.error/segment-missing", format!("segment {id} is not there"))),
        }
    }
}

/// A database with references, values in AVET, and lives that ended, indexed in two jobs of small nodes.
fn world() -> (Db, Arc<MemorySegments>, Arc<Trees>) {
    let mut db = Db::bootstrap();
    let mut say = |text: &str| {
        let form = edn::read(text).unwrap();
        let report = transact(&db, &form, Instant(0), &Functions::builtin(), &TxLimits::default());
        db = report.unwrap().db_after;
        db.clone()
    };
    say("[{:db/ident :a/name :db/valueType :db.type/string :db/cardinality :db.cardinality/one :db/unique :db.unique/identity}
          {:db/ident :a/n :db/valueType :db.type/long :db/cardinality :db.cardinality/one}
          {:db/ident :a/friend :db/valueType :db.type/ref :db/cardinality :db.cardinality/many}]");
    let mut half = None;
    for round in 0..3 {
        for n in 0..12 {
            let db = say(&format!(
                "[{{:a/name \"N{n}\" :a/n {} :a/friend {{:a/name \"N{}\"}}}}]",
                round * 7 + n,
                n * 5 % 12
            ));
            if round == 1 && n == 6 {
                half = Some(db);
            }
        }
    }
    let sizes = Sizes { leaf_rows: 6, branch_children: 3, ..Sizes::default() };
    let kept = Arc::new(MemorySegments::default());
    let earlier = kept.trees_of(&half.unwrap(), sizes).unwrap();
    let db = db.onto(earlier).unwrap();
    let trees = kept.trees_of(&db, sizes).unwrap();
    (db, kept, trees)
}

fn verified(db: &Db, trees: &Trees) -> Verified {
    let covers = |a: AttrId| db.schema().attribute(a).has_avet();
    verify(trees, &covers, 10, &mut || Ok(())).unwrap()
}

/// The same trees, read from another source.
fn trees_on(trees: &Trees, source: Arc<dyn Source>) -> Trees {
    fn roots<R>(roots: &Roots<R>) -> Roots<R> {
        Roots([0, 1, 2, 3].map(|at| roots.0[at].as_ref().map(|root| Root::new(root.summary))))
    }
    Trees {
        index_t: trees.index_t,
        open: roots(&trees.open),
        closed: roots(&trees.closed),
        stats: trees.stats.clone(),
        source,
    }
}

/// All nodes of a tree: names, and whether they are leaves.
fn nodes<R: TreeRow>(source: &dyn Source, id: SegmentId, found: &mut Vec<(SegmentId, bool)>) {
    let segment = source.fetch(&id).unwrap();
    found.push((id, R::leaf(&segment).is_some()));
    R::children(&segment).iter().for_each(|child| nodes::<R>(source, child.id, found));
}

#[test]
fn trees_that_jobs_made_are_well() {
    let (db, _, trees) = world();
    let verified = verified(&db, &trees);
    assert_eq!(verified.faults, []);
    assert_eq!((verified.open, verified.closed), (trees.open.count(), trees.closed.count()));
    assert!(verified.segments > 50 && verified.closed > 10, "{verified:?}");
}

/// Every node of every tree in turn is changed; each time there is a fault.
fn each_change(change: impl Fn(&mut Segment) -> bool, check: impl Fn(&Fault, &SegmentId, Sort)) {
    let (db, kept, trees) = world();
    let mut changes = 0;
    for sort in Sort::ALL {
        let mut all = Vec::new();
        trees.open.of(sort).iter().for_each(|root| nodes::<Datom>(&*kept, root.summary.id, &mut all));
        trees.closed.of(sort).iter().for_each(|root| nodes::<Life>(&*kept, root.summary.id, &mut all));
        for (id, _) in all {
            let mut segment = Segment::clone(&kept.fetch(&id).unwrap());
            if !change(&mut segment) {
                continue;
            }
            changes += 1;
            let source = Changed { kept: kept.clone(), id, segment: Some(Arc::new(segment)) };
            let verified = verified(&db, &trees_on(&trees, Arc::new(source)));
            assert!(!verified.faults.is_empty(), "{id} in {}", sort.name());
            check(&verified.faults[0], &id, sort);
        }
    }
    assert!(changes > 5, "{changes} nodes were changed");
}

/// A life that begins a transaction earlier, in one sort only: counts and bounds may hold, the sums of the sorts do not.
#[test]
fn a_row_that_differs_between_sorts_is_found() {
    each_change(
        |segment| match &mut segment.rows {
            Rows::Open(Node::Leaf(rows)) => {
                let at = rows.len() / 2;
                let other = rows.iter().map(Datom::t).find(|t| *t != rows[at].t());
                let datom = &rows[at];
                let Some(t) = other else { return false };
                rows[at] = Datom::new(datom.e, datom.a(), datom.v.clone(), t, true);
                true
            }
            _ => false,
        },
        |_, _, _| {},
    );
}

#[test]
fn a_row_that_is_missing_is_found_with_its_segment() {
    each_change(
        |segment| match &mut segment.rows {
            Rows::Open(Node::Leaf(rows)) if rows.len() > 1 => rows.pop().is_some(),
            Rows::Closed(Node::Leaf(rows)) if rows.len() > 1 => rows.pop().is_some(),
            _ => false,
        },
        |fault, id, sort| {
            assert_eq!((fault.segment, fault.sort), (Some(*id), sort), "{fault}");
            assert!(fault.what.contains("what is said of it"), "{fault}");
        },
    );
}

#[test]
fn a_branch_that_says_something_else_is_found() {
    each_change(
        |segment| match &mut segment.rows {
            Rows::Open(Node::Branch(children)) => {
                children[0].count += 1;
                true
            }
            Rows::Closed(Node::Branch(children)) => {
                children[0].to_max += 1;
                true
            }
            _ => false,
        },
        |fault, _, sort| assert_eq!(fault.sort, sort, "{fault}"),
    );
    each_change(
        |segment| match &mut segment.rows {
            Rows::Open(Node::Branch(children)) if children.len() > 1 => {
                children.swap(0, 1);
                true
            }
            _ => false,
        },
        |fault, _, sort| assert_eq!(fault.sort, sort, "{fault}"),
    );
}

#[test]
fn rows_out_of_order_and_nodes_of_other_sorts_are_found() {
    each_change(
        |segment| match &mut segment.rows {
            Rows::Closed(Node::Leaf(rows)) if rows.len() > 2 => {
                rows.swap(1, 2);
                true
            }
            _ => false,
        },
        |fault, id, _| {
            assert_eq!((fault.segment, fault.row), (Some(*id), Some(2)), "{fault}");
            assert!(fault.what.contains("stands after"), "{fault}");
        },
    );
    each_change(
        |segment| {
            segment.sort = if segment.sort == Sort::Avet { Sort::Vaet } else { Sort::Avet };
            true
        },
        |fault, id, _| assert!(fault.segment == Some(*id) && fault.what.contains("it is a node of"), "{fault}"),
    );
}

#[test]
fn a_missing_segment_is_named_and_the_rest_is_read() {
    let (db, kept, trees) = world();
    let all = verified(&db, &trees).segments;
    let mut leaves = Vec::new();
    nodes::<Datom>(&*kept, trees.open.of(Sort::Aevt).unwrap().summary.id, &mut leaves);
    let (id, _) = *leaves.iter().find(|(_, is_leaf)| *is_leaf).unwrap();
    let verified = verified(&db, &trees_on(&trees, Arc::new(Changed { kept, id, segment: None })));
    assert_eq!((verified.faults.len(), verified.segments), (1, all - 1));
    let told = verified.faults[0].to_string();
    assert!(told.starts_with(&format!("current AEVT, {id}: ")) && told.ends_with("is not there"), "{told}");
}

/// A whole tree that is not there, or has rows it should not have, is told by the sums alone.
#[test]
fn trees_that_cover_something_else_are_found() {
    let (db, _, trees) = world();
    let name = db.schema().attr_of_ident(&crate::Keyword::new("a/name")).unwrap();
    let n = db.schema().attr_of_ident(&crate::Keyword::new("a/n")).unwrap();
    let covers = |a: AttrId| db.schema().attribute(a).has_avet();
    let mut go_on = || Ok(());
    let more = verify(&trees, &|a| covers(a) || a == n, 10, &mut go_on).unwrap();
    assert!(more.faults[0].sort == Sort::Eavt && more.faults[0].what.ends_with("is not in AVET"), "{:?}", more.faults);
    let fewer = verify(&trees, &|a| covers(a) && a != name, 10, &mut go_on).unwrap();
    assert!(fewer.faults[0].sort == Sort::Avet && fewer.faults[0].what.ends_with("has no place in AVET"), "{fewer:?}");
    assert!(fewer.faults[0].segment.is_some() && fewer.faults[0].row.is_some());
}

#[test]
fn statistics_and_index_t_are_held_against_the_rows() {
    let (db, kept, trees) = world();
    let mut other = trees_on(&trees, kept.clone());
    other.stats.remove(AttrId(0));
    assert!(verified(&db, &other).faults[0].what.contains("statistics tell of"));
    let mut earlier = trees_on(&trees, kept);
    earlier.index_t -= 1;
    assert!(verified(&db, &earlier).faults[0].what.contains("is later than index-t"));
}

#[test]
fn as_many_faults_are_told_as_asked_for_and_it_ends_when_it_shall() {
    let (db, kept, trees) = world();
    let mut earlier = trees_on(&trees, kept);
    earlier.index_t = 0;
    let all = verify(&earlier, &|_| true, 3, &mut || Ok(())).unwrap();
    assert_eq!(all.faults.len(), 3);
    let mut left = 5;
    let covers = |a: AttrId| db.schema().attribute(a).has_avet();
    let ended = verify(&trees, &covers, 10, &mut || {
        left -= 1;
        if left == 0 { Err(Error::interrupted("db.error/cancelled", "cancelled")) } else { Ok(()) }
    });
    assert_eq!(ended.unwrap_err().code(), "db.error/cancelled");
}

#[test]
fn a_tree_of_another_depth_is_found() {
    let (db, kept, trees) = world();
    let root = trees.open.of(Sort::Avet).unwrap().summary;
    assert!(root.depth > 1);
    for depth in [0, root.depth - 1, root.depth + 1, 30] {
        let mut other = trees_on(&trees, kept.clone());
        other.open.0[Sort::Avet as usize] = Some(Root::new(log::Root { depth, ..root }));
        let faults = verified(&db, &other).faults;
        assert!(faults[0].sort == Sort::Avet && faults[0].what.contains("levels of branches"), "{faults:?}");
    }
}
