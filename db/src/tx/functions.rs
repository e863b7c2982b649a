//! The registry of native transaction functions.

use super::expand::{ADD, RETRACT};
use crate::edn::Edn;
use crate::model::{Instant, Keyword};
use crate::text::did_you_mean;
use crate::view::Db;
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// A transaction function: from the database before the transaction, the call's arguments and the transaction's
/// instant to tx-data (a vector or list of forms, function calls among them; nil for none).
///
/// It must be a function in the strict sense: same value, same arguments, same answer, on every machine.
pub trait TxFunction: Fn(&Db, &[Edn], Instant) -> Result<Edn> + Send + Sync {}

impl<F: Fn(&Db, &[Edn], Instant) -> Result<Edn> + Send + Sync> TxFunction for F {}

/// Transaction functions by name. Cheap to clone.
///
/// ```
/// use diachron_db::edn::Edn;
/// use diachron_db::tx::Functions;
///
/// let mut functions = Functions::builtin();
/// functions.register("person/named", |_db, args, _instant| {
///     let entries = vec![(Edn::keyword("person/name"), args[0].clone())];
///     Ok(Edn::Vector(vec![Edn::Map(entries)]))
/// });
/// ```
#[derive(Clone)]
pub struct Functions(Arc<BTreeMap<Keyword, Function>>);

#[derive(Clone)]
pub(super) enum Function {
    Cas,
    RetractEntity,
    Native(Arc<dyn TxFunction>),
}

impl Functions {
    /// `:db/cas` and `:db/retractEntity`, also under their older names `:db.fn/cas` and `:db.fn/retractEntity`.
    pub fn builtin() -> Self {
        let builtin = [
            ("db/cas", Function::Cas),
            ("db.fn/cas", Function::Cas),
            ("db/retractEntity", Function::RetractEntity),
            ("db.fn/retractEntity", Function::RetractEntity),
        ];
        Functions(Arc::new(builtin.into_iter().map(|(name, function)| (Keyword::new(name), function)).collect()))
    }

    /// Adds a function under a name without its colon, in place of one that had the name.
    ///
    /// # Panics
    /// If the name is in a namespace reserved for the system (`db` or `db.…`).
    pub fn register(&mut self, name: impl Into<Keyword>, function: impl TxFunction + 'static) {
        let name = name.into();
        assert!(!is_reserved(&name), "{name} is in a namespace reserved for the system");
        Arc::make_mut(&mut self.0).insert(name, Function::Native(Arc::new(function)));
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &Keyword> {
        self.0.keys()
    }

    pub(super) fn get(&self, name: &Keyword) -> Result<&Function> {
        self.0.get(name).ok_or_else(|| {
            let names = self.0.keys().map(Keyword::as_str).chain([ADD, RETRACT]);
            let near = did_you_mean(name.as_str(), names);
            let message = format!("no transaction function is named {name}{near}");
            Error::not_found("db.error/not-a-data-function", message).with("function", name.clone())
        })
    }
}

impl Default for Functions {
    fn default() -> Self {
        Functions::builtin()
    }
}

impl fmt::Debug for Functions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

/// Whether a name is in `db` or `db.…`.
pub(super) fn is_reserved(name: &Keyword) -> bool {
    name.namespace().is_some_and(|namespace| namespace == "db" || namespace.starts_with("db."))
}
