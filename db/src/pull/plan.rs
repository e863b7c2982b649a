//! A pattern fitted to a database: attributes by number, nested patterns side by side.

use super::pattern::{Limit, Pattern, Spec, Then};
use super::transform::Transform;
use crate::edn::Edn;
use crate::model::{AttrId, Keyword, Value};
use crate::text::brief;
use crate::view::Db;
use crate::{Error, Item, Result};

/// A pattern ready to pull from a database value.
#[derive(Clone)]
pub struct Plan {
    pub(super) db: Db,
    pub(super) nodes: Vec<Node>,
    pub(super) id_key: Item,
    pub(super) ident_key: Item,
}

/// Everything of an entity: the node for components that no pattern speaks of.
pub(super) const WHOLE: usize = 0;
/// The pattern itself.
pub(super) const ROOT: usize = 1;

/// One level of a pattern.
#[derive(Clone, Default)]
pub(super) struct Node {
    pub(super) wildcard: bool,
    /// What is wanted, in the order of the pattern.
    pub(super) wants: Vec<Want>,
    /// Attributes wanted forwards with their place in `wants`, in the order of their numbers.
    pub(super) forward: Vec<(AttrId, usize)>,
    /// How deep each recursion of this level goes; None without bound.
    pub(super) depths: Vec<Option<u32>>,
}

#[derive(Clone)]
pub(super) struct Want {
    pub(super) what: What,
    pub(super) key: Item,
    pub(super) limit: Limit,
    pub(super) default: Option<Item>,
    pub(super) transform: Option<Transform>,
    pub(super) next: Next,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Id,
    Forward(AttrId),
    Reverse(AttrId),
}

/// What is pulled of a referenced entity.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Its id and its ident.
    Reference,
    /// Everything of it.
    Whole,
    Node(usize),
    /// The same level again; the number is its place in `depths`.
    Recurse(usize),
}

impl Plan {
    /// Fits a pattern to a database. Unknown attributes are refused, as are history views.
    pub fn new(db: &Db, pattern: &Pattern) -> Result<Plan> {
        if db.is_history() {
            let message = "pull over history is refused: an entity has no one state there; use as-of, or query history";
            return Err(Error::incorrect("db.error/pull-history", message));
        }
        let whole = Node { wildcard: true, ..Node::default() };
        let mut plan = Plan {
            db: db.clone(),
            nodes: vec![whole, Node::default()],
            id_key: Item::Value(Value::keyword("db/id")),
            ident_key: Item::Value(Value::keyword("db/ident")),
        };
        plan.fit(ROOT, pattern)?;
        Ok(plan)
    }

    fn fit(&mut self, at: usize, pattern: &Pattern) -> Result<()> {
        let mut node = Node { wildcard: pattern.wildcard, ..Node::default() };
        for spec in &pattern.specs {
            let want = self.want(spec, &mut node.depths)?;
            // The later of two that have one key counts.
            match node.wants.iter_mut().find(|known| known.key == want.key) {
                Some(known) => *known = want,
                None => node.wants.push(want),
            }
        }
        for (i, want) in node.wants.iter().enumerate() {
            if let What::Forward(a) = want.what {
                node.forward.push((a, i));
            }
        }
        node.forward.sort_unstable();
        self.nodes[at] = node;
        Ok(())
    }

    fn want(&mut self, spec: &Spec, depths: &mut Vec<Option<u32>>) -> Result<Want> {
        let want = |what, next| Want {
            what,
            key: spec.key.clone(),
            limit: spec.limit,
            default: spec.default.clone(),
            transform: spec.transform,
            next,
        };
        if spec.name.as_str() == "db/id" {
            return Ok(want(What::Id, Next::Reference));
        }
        let schema = self.db.schema();
        let reversed = match schema.attr_of_ident(&spec.name) {
            Some(_) => None,
            None => reversed(&spec.name),
        };
        let a = self.db.require_attribute(&Edn::Keyword(reversed.clone().unwrap_or_else(|| spec.name.clone())))?;
        let attribute = schema.attribute(a);
        let what = if reversed.is_some() { What::Reverse(a) } else { What::Forward(a) };
        if !attribute.is_ref() && (reversed.is_some() || !matches!(spec.then, Then::Reference)) {
            let message = format!("{}: {} is no reference", brief(&spec.name), attribute.ident);
            return Err(Error::incorrect("db.error/invalid-pull-pattern", message));
        }
        let component = attribute.component && reversed.is_none();
        let next = match &spec.then {
            Then::Reference if component => Next::Whole,
            Then::Reference => Next::Reference,
            Then::Pattern(pattern) => {
                self.nodes.push(Node::default());
                let at = self.nodes.len() - 1;
                self.fit(at, pattern)?;
                Next::Node(at)
            }
            Then::Recurse(depth) => {
                depths.push(*depth);
                Next::Recurse(depths.len() - 1)
            }
        };
        Ok(want(what, next))
    }
}

/// `:ns/attr` for `:ns/_attr`.
fn reversed(name: &Keyword) -> Option<Keyword> {
    let forward = name.name().strip_prefix('_')?;
    Some(match name.namespace() {
        Some(namespace) => Keyword::new(format!("{namespace}/{forward}")),
        None => Keyword::new(forward),
    })
}
