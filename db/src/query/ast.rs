//! A query as parsed: variables are numbers, names are resolved to functions, constants are values.
//!
//! A variable's number stands for one variable of one scope: `not-join`, `or-join` and rule bodies have scopes of
//! their own, so two variables of the same name may have different numbers, never the other way round.

use super::functions::Function;
use crate::edn::Edn;
use crate::model::{Symbol, Value};
use crate::pull;

/// A variable of a query, or of one rule branch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Var(pub u32);

impl Var {
    /// Hidden variables live within one step; sets of variables do not hold them.
    pub(crate) const HIDDEN: u32 = u32::MAX - (1 << 16);

    pub(crate) fn hidden(number: usize) -> Var {
        Var(Var::HIDDEN + number as u32)
    }

    pub(crate) fn is_hidden(self) -> bool {
        self.0 >= Var::HIDDEN
    }
}

/// A database or relation among a query's inputs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct SourceId(pub usize);

/// A set of variables.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct VarSet(Vec<u64>);

impl VarSet {
    pub(crate) fn insert(&mut self, var: Var) {
        debug_assert!(!var.is_hidden());
        let word = var.0 as usize / 64;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (var.0 % 64);
    }

    pub(crate) fn contains(&self, var: Var) -> bool {
        self.0.get(var.0 as usize / 64).is_some_and(|word| word >> (var.0 % 64) & 1 == 1)
    }

    pub(crate) fn extend(&mut self, other: &VarSet) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (word, more) in self.0.iter_mut().zip(&other.0) {
            *word |= more;
        }
    }

    pub(crate) fn intersection(&self, other: &VarSet) -> VarSet {
        VarSet(self.0.iter().zip(&other.0).map(|(a, b)| a & b).collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Var> + '_ {
        self.0.iter().enumerate().flat_map(|(i, word)| {
            (0..64u32).filter(move |bit| word >> bit & 1 == 1).map(move |bit| Var(i as u32 * 64 + bit))
        })
    }
}

impl FromIterator<Var> for VarSet {
    fn from_iter<I: IntoIterator<Item = Var>>(vars: I) -> Self {
        let mut set = VarSet::default();
        vars.into_iter().for_each(|var| set.insert(var));
        set
    }
}

/// A slot of a data pattern, or an argument of a rule call.
#[derive(Clone, Debug)]
pub(crate) enum Term {
    Blank,
    Var(Var),
    /// Vectors are tuples here; a lookup ref is one until its place is known.
    Const(Value),
}

impl Term {
    pub(crate) fn var(&self) -> Option<Var> {
        match self {
            Term::Var(var) => Some(*var),
            _ => None,
        }
    }
}

/// An argument of a function or predicate.
#[derive(Clone, Debug)]
pub(crate) enum Arg {
    Nil,
    Var(Var),
    Const(Value),
    Source(SourceId),
}

/// What takes the result of a function, or an input.
#[derive(Clone, Debug)]
pub(crate) enum Binding {
    Ignore,
    Scalar(Var),
    /// `[?a _ ?b]`
    Tuple(Vec<Binding>),
    /// `[?x ...]`
    Collection(Box<Binding>),
    /// `[[?a ?b]]`
    Relation(Vec<Binding>),
}

impl Binding {
    pub(crate) fn collect_vars(&self, vars: &mut Vec<Var>) {
        match self {
            Binding::Ignore => {}
            Binding::Scalar(var) => {
                if !vars.contains(var) {
                    vars.push(*var)
                }
            }
            Binding::Collection(inner) => inner.collect_vars(vars),
            Binding::Tuple(parts) | Binding::Relation(parts) => {
                parts.iter().for_each(|part| part.collect_vars(vars));
            }
        }
    }

    /// The variables in order of first appearance.
    pub(crate) fn vars(&self) -> Vec<Var> {
        let mut vars = Vec::new();
        self.collect_vars(&mut vars);
        vars
    }
}

/// One clause with what error messages and the planner need to know about it.
#[derive(Clone, Debug)]
pub(crate) struct Clause {
    pub kind: Kind,
    /// As the user wrote it.
    pub form: Edn,
    /// Every variable of the enclosing scope that it mentions.
    pub vars: VarSet,
    /// Those it can give values to.
    pub binds: VarSet,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Pattern {
        source: Option<SourceId>,
        terms: Vec<Term>,
    },
    Call(Call),
    /// `join` lists the variables of a `not-join`; a plain `not` joins on those that are bound outside.
    Not {
        source: Option<SourceId>,
        join: Option<Vec<Var>>,
        clauses: Vec<Clause>,
    },
    /// `vars` are those that every branch binds, or that an `or-join` lists.
    Or {
        source: Option<SourceId>,
        vars: Vec<Var>,
        required: Vec<Var>,
        branches: Vec<Vec<Clause>>,
    },
    Rule {
        source: Option<SourceId>,
        name: Symbol,
        args: Vec<Term>,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub function: &'static Function,
    pub args: Vec<Arg>,
    /// None for a predicate.
    pub binding: Option<Binding>,
}

/// One branch of a rule: `[(name [?required …] ?free …) clause …]`.
#[derive(Clone, Debug)]
pub(crate) struct Branch {
    pub params: Vec<Var>,
    pub clauses: Vec<Clause>,
    /// Names of the branch's variables, by number.
    pub names: Vec<String>,
    pub form: Edn,
}

/// All branches of one rule name.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub name: Symbol,
    /// So many first parameters must be bound at a call.
    pub required: usize,
    pub branches: Vec<Branch>,
}

impl Rule {
    pub(crate) fn arity(&self) -> usize {
        self.branches[0].params.len()
    }
}

/// The shape in which an answer is meant to be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// `:find ?a ?b`
    Relation,
    /// `:find [?a ...]`
    Collection,
    /// `:find [?a ?b]`
    Tuple,
    /// `:find ?a .`
    Scalar,
}

#[derive(Clone, Debug)]
pub(crate) enum FindElement {
    Var(Var),
    Pull { source: Option<SourceId>, var: Var, pattern: PullPattern },
    Aggregate { aggregate: Aggregate, var: Var },
}

impl FindElement {
    pub(crate) fn var(&self) -> Var {
        match self {
            FindElement::Var(var) | FindElement::Pull { var, .. } | FindElement::Aggregate { var, .. } => *var,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum PullPattern {
    Form(pull::Pattern),
    /// The position in `:in` of the input that holds it.
    Input(usize),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Aggregate {
    Count,
    CountDistinct,
    Sum,
    Avg,
    Min,
    Max,
    MinN(usize),
    MaxN(usize),
    Median,
    Variance,
    Stddev,
    Distinct,
    /// One value by chance.
    Rand,
    /// So many values by chance, the same one perhaps several times.
    RandN(usize),
    /// So many different values by chance, or all there are.
    Sample(usize),
}

/// What `:keys`, `:strs` or `:syms` asks the rows to be read as.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Keys {
    pub kind: KeyKind,
    pub names: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyKind {
    Keyword,
    String,
    Symbol,
}

/// One input that a query asks for in `:in`.
#[derive(Clone, Debug)]
pub(crate) enum InputForm {
    /// The next source.
    Source,
    Rules,
    /// The name of a pull pattern.
    Pattern,
    Binding(Binding),
}

/// A parsed query: immutable, usable with any inputs, any number of times.
#[derive(Clone, Debug)]
pub struct Query {
    pub(crate) shape: Shape,
    pub(crate) find: Vec<FindElement>,
    pub(crate) columns: Vec<String>,
    pub(crate) keys: Option<Keys>,
    pub(crate) with: Vec<Var>,
    pub(crate) inputs: Vec<(InputForm, Edn)>,
    /// Names of the sources, `$` included, by number.
    pub(crate) sources: Vec<String>,
    /// The source of clauses that name none.
    pub(crate) default_source: Option<SourceId>,
    pub(crate) clauses: Vec<Clause>,
    /// Names of the variables, by number.
    pub(crate) names: Vec<String>,
}
