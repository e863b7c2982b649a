//! Tx-data to assertions and retractions: forms are read, maps unfolded, functions called, names resolved against
//! db-before. Nothing here sees what else is in the transaction.
//!
//! ```text
//! tx-data  = [form*]
//! form     = [:db/add e a v] | [:db/retract e a v] | [:db/retract e a] | [function arg*] | map
//! map      = {:db/id e?, a v | a [v*] | :ns/_attr v …}
//! e        = id | ident | [attribute value] | tempid
//! v        = value of the attribute's type | e, for a reference | map, for a reference
//! tempid   = string; "datomic.tx" and "diachron.tx" are the transaction itself
//! ```

use super::TxLimits;
use super::functions::{Function, Functions, TxFunction};
use super::op::{Entity, Op, Operand, TempId};
use super::problems::Problems;
use super::tempids::{Scope, Tempids};
use crate::edn::Edn;
use crate::model::{AttrId, Datom, EntityId, Instant, Keyword, Partition, Text, Value};
use crate::schema::{Attribute, FIRST_USER_COUNTER, Schema, ids};
use crate::text::{brief, brief_list, detail};
use crate::view::{Db, Pattern, value_of};
use crate::{Error, Result};
use rustc_hash::FxHashSet;
use std::cell::OnceCell;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The first word of an assertion, of a retraction, and the key of a map that says whose attributes it holds.
pub(crate) const ADD: &str = "db/add";
pub(crate) const RETRACT: &str = "db/retract";
pub(crate) const ID: &str = "db/id";

/// What a transaction says, with its tempids.
pub(super) struct Expanded {
    pub(super) ops: Vec<Op>,
    pub(super) tempids: Tempids,
    /// Whether the transaction's own tempid was used.
    pub(super) names_tx: bool,
}

/// Where expansion stands: the values it is made against and what it has found.
struct Expansion<'a> {
    db: &'a Db,
    tx: EntityId,
    instant: Instant,
    functions: &'a Functions,
    limits: &'a TxLimits,
    top: &'a [Edn],
    /// Idents that maps of the tx-data give; gathered when an error asks.
    idents: OnceCell<FxHashSet<Keyword>>,
    found: Expanded,
    forms: usize,
    over_limit: Option<Error>,
}

/// The forms of tx-data.
pub(super) fn forms(tx_data: &Edn) -> Result<&[Edn]> {
    tx_data.as_sequence().ok_or_else(|| {
        let remedy = match tx_data {
            Edn::Map(_) => "; put the map into a vector",
            _ => "",
        };
        let message = format!("tx-data is a vector or list of forms, not {}{remedy}", brief(tx_data));
        Error::incorrect("db.error/invalid-tx-data", message)
    })
}

pub(super) fn is_tx_name(name: &str) -> bool {
    name == "datomic.tx" || name == "diachron.tx"
}

pub(super) fn expand(
    db: &Db,
    forms: &[Edn],
    tx: EntityId,
    instant: Instant,
    functions: &Functions,
    limits: &TxLimits,
) -> Result<Expanded> {
    let found = Expanded { ops: Vec::with_capacity(4 * forms.len()), tempids: Tempids::default(), names_tx: false };
    let mut expansion = Expansion {
        db,
        tx,
        instant,
        functions,
        limits,
        top: forms,
        idents: OnceCell::new(),
        found,
        forms: 0,
        over_limit: None,
    };
    let mut problems = Problems::default();
    let scope = Scope::top();
    for form in forms {
        if let Err(error) = expansion.form(form, &scope, 0) {
            problems.add(error);
        }
        if let Some(error) = expansion.over_limit {
            return Err(error);
        }
    }
    problems.finish()?;
    Ok(expansion.found)
}

impl Expansion<'_> {
    fn form(&mut self, form: &Edn, scope: &Scope<'_>, depth: usize) -> Result<()> {
        self.count_form()?;
        match form {
            Edn::Vector(parts) | Edn::List(parts) => self.list(parts, scope, depth),
            Edn::Map(entries) => {
                let e = match self.map_id(entries, scope)? {
                    Some(e) => e,
                    None => Entity::Temp(self.found.tempids.anonymous()),
                };
                self.map(e, entries, scope, depth)
            }
            _ => Err(Error::incorrect(
                "db.error/invalid-tx-data",
                format!("{} is no tx-data: a form is a map, or a list that begins with a keyword", brief(form)),
            )),
        }
    }

    fn list(&mut self, parts: &[Edn], scope: &Scope<'_>, depth: usize) -> Result<()> {
        let Some(Edn::Keyword(name)) = parts.first() else {
            let message = format!(
                "{} is no tx-data: a list begins with :db/add, :db/retract or the name of a function",
                brief_list(parts)
            );
            return Err(Error::incorrect("db.error/invalid-tx-data", message));
        };
        let within = |error: Error| error.within(brief_list(parts)).with("form", brief_list(parts));
        match (name.as_str(), &parts[1..]) {
            (ADD, [e, a, v]) => self.add(e, a, v, scope).map_err(within),
            (RETRACT, [e, a, v]) => self.retract(e, a, v, scope).map_err(within),
            (RETRACT, [e, a]) => self.retract_all(e, a, scope).map_err(within),
            (ADD, _) => Err(invalid_form(parts, "an assertion is [:db/add entity attribute value]")),
            (RETRACT, _) => Err(invalid_form(
                parts,
                "a retraction is [:db/retract entity attribute value] or [:db/retract entity attribute]",
            )),
            (_, args) => self.call(parts, name, args, scope, depth),
        }
    }

    fn add(&mut self, e: &Edn, a: &Edn, v: &Edn, scope: &Scope<'_>) -> Result<()> {
        let e = self.entity(e, scope)?;
        let a = self.attribute(a)?;
        let v = self.operand(a, v, scope)?;
        self.push_add(e, a, v)
    }

    fn retract(&mut self, e: &Edn, a: &Edn, v: &Edn, scope: &Scope<'_>) -> Result<()> {
        let e = self.entity(e, scope)?;
        let a = self.attribute(a)?;
        let v = self.operand(a, v, scope)?;
        self.push(Op::Retract(e, a, v))
    }

    fn retract_all(&mut self, e: &Edn, a: &Edn, scope: &Scope<'_>) -> Result<()> {
        let e = self.entity(e, scope)?;
        let a = self.attribute(a)?;
        match e {
            Entity::Temp(temp) => self.push(Op::RetractAll(temp, a)),
            Entity::Known(e) => self.retract_matching(&Pattern::all().e(e).a(a), |_| ()),
        }
    }

    /// Retracts every datom of db-before that matches, and shows each to `f`.
    fn retract_matching(&mut self, pattern: &Pattern<'_>, mut f: impl FnMut(&Datom)) -> Result<()> {
        let mut outcome = Ok(());
        self.db.each(pattern, |datom| {
            f(datom);
            outcome = self.push(Op::Retract(Entity::Known(datom.e), datom.a(), Operand::Value(datom.v.clone())));
            if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        outcome
    }

    // Maps.

    /// The entity that a map's `:db/id` names.
    fn map_id(&mut self, entries: &[(Edn, Edn)], scope: &Scope<'_>) -> Result<Option<Entity>> {
        let mut ids = entries.iter().filter(|(key, _)| is_db_id(key)).map(|(_, id)| id);
        let Some(id) = ids.next() else { return Ok(None) };
        if ids.next().is_some() {
            return Err(Error::incorrect("db.error/invalid-tx-data", "a map has :db/id twice"));
        }
        self.entity(id, scope).map(Some).map_err(|error| error.within(format_args!("{{:db/id {}}}", brief(id))))
    }

    fn map(&mut self, e: Entity, entries: &[(Edn, Edn)], scope: &Scope<'_>, depth: usize) -> Result<()> {
        if depth > self.limits.depth_max {
            return Err(too_deep("maps", self.limits.depth_max));
        }
        for (key, value) in entries {
            if is_db_id(key) {
                continue;
            }
            self.entry(e, key, value, scope, depth)?;
        }
        Ok(())
    }

    fn entry(&mut self, e: Entity, key: &Edn, value: &Edn, scope: &Scope<'_>, depth: usize) -> Result<()> {
        let within = |error: Error| error.within(brief(&Edn::Map(vec![(key.clone(), value.clone())])));
        let reverse = match key {
            Edn::Keyword(key) => reversed(key, self.db.schema()),
            _ => None,
        };
        let a = self.attribute(reverse.as_ref().unwrap_or(key)).map_err(within)?;
        let attribute = self.db.schema().attribute(a);
        if reverse.is_some() && !attribute.is_ref() {
            let message = format!("{} is no reference: only references can be reversed", attribute.ident);
            return Err(within(Error::incorrect("db.error/wrong-type-for-attribute", message)));
        }
        let many = attribute.is_many() || reverse.is_some();
        match value {
            Edn::Vector(values) | Edn::List(values) | Edn::Set(values)
                if many && !(attribute.is_ref() && self.is_lookup_ref(value)) =>
            {
                values.iter().try_for_each(|value| self.entry_value(e, key, a, value, reverse.is_some(), scope, depth))
            }
            _ => self.entry_value(e, key, a, value, reverse.is_some(), scope, depth),
        }
    }

    /// One value of a map's key; of a reversed key, one entity that refers to the map's.
    #[allow(clippy::too_many_arguments)]
    fn entry_value(
        &mut self,
        e: Entity,
        key: &Edn,
        a: AttrId,
        value: &Edn,
        reverse: bool,
        scope: &Scope<'_>,
        depth: usize,
    ) -> Result<()> {
        let attribute = self.db.schema().attribute(a);
        let within = |error: Error| error.within(brief(&Edn::Map(vec![(key.clone(), value.clone())])));
        if let Edn::Map(entries) = value
            && attribute.is_ref()
        {
            self.count_form()?;
            let nested = match self.map_id(entries, scope)? {
                Some(nested) => nested,
                None if attribute.component || self.names_unique(entries) => {
                    Entity::Temp(self.found.tempids.anonymous())
                }
                None => return Err(within(nested_needs(attribute))),
            };
            let (from, to) = if reverse { (nested, e) } else { (e, nested) };
            self.push_add(from, a, to.into())?;
            return self.map(nested, entries, scope, depth + 1);
        }
        if reverse {
            if matches!(value, Edn::Nil) {
                let message = "nil is no entity: leave the key out, or retract what there is";
                return Err(within(Error::incorrect("db.error/nil-value", message)));
            }
            let from = self.entity(value, scope).map_err(within)?;
            return self.push_add(from, a, e.into());
        }
        let v = self.operand(a, value, scope).map_err(within)?;
        self.push_add(e, a, v)
    }

    /// Whether a map has a unique attribute.
    fn names_unique(&self, entries: &[(Edn, Edn)]) -> bool {
        entries.iter().any(|(key, _)| match key {
            Edn::Keyword(ident) => {
                let a = self.db.schema().attr_of_ident(ident);
                a.is_some_and(|a| self.db.schema().attribute(a).unique.is_some())
            }
            _ => false,
        })
    }

    /// Two elements of which the first names a unique attribute: one lookup ref, not two values.
    fn is_lookup_ref(&self, form: &Edn) -> bool {
        match form {
            Edn::Vector(parts) | Edn::List(parts) if parts.len() == 2 => match &parts[0] {
                Edn::Keyword(ident) => {
                    let a = self.db.schema().attr_of_ident(ident);
                    a.is_some_and(|a| self.db.schema().attribute(a).unique.is_some())
                }
                _ => false,
            },
            _ => false,
        }
    }

    // Functions.

    fn call(&mut self, parts: &[Edn], name: &Keyword, args: &[Edn], scope: &Scope<'_>, depth: usize) -> Result<()> {
        let within = |error: Error| error.within(brief_list(parts)).with("form", brief_list(parts));
        match self.functions.get(name).map_err(within)? {
            Function::Cas => self.cas(args, scope).map_err(within),
            Function::RetractEntity => self.retract_entity(args).map_err(within),
            Function::Native(function) => {
                let result = self.result_of(name, &**function, args, depth).map_err(within)?;
                let scope = self.found.tempids.scope(name, args, scope);
                let forms = result.as_sequence().unwrap_or_default();
                // The form at fault is named already; of the calls that led to it the first one says enough.
                forms.iter().try_for_each(|form| self.form(form, &scope, depth + 1)).map_err(|error| match depth {
                    0 => error.within(brief_list(parts)).with("call", brief_list(parts)),
                    _ => error,
                })
            }
        }
    }

    /// What a native function returns: a vector or list of forms, or nil.
    fn result_of(&self, name: &Keyword, function: &dyn TxFunction, args: &[Edn], depth: usize) -> Result<Edn> {
        if depth >= self.limits.depth_max {
            return Err(too_deep("functions", self.limits.depth_max));
        }
        let call = || function(self.db, args, self.instant);
        let result = catch_unwind(AssertUnwindSafe(call))
            .unwrap_or_else(|_| Err(Error::fault(format!("transaction function {name} panicked"))))?;
        if !matches!(result, Edn::Nil | Edn::Vector(_) | Edn::List(_)) {
            let message = format!(
                "transaction function {name} returned {}, which is no tx-data: it must be a vector or list of forms",
                brief(&result)
            );
            return Err(Error::incorrect("db.error/invalid-tx-data", message));
        }
        Ok(result)
    }

    fn cas(&mut self, args: &[Edn], scope: &Scope<'_>) -> Result<()> {
        let [e, a, old, new] = args else {
            let message = "compare-and-set is [:db/cas entity attribute old-value new-value]";
            return Err(Error::incorrect("db.error/invalid-tx-data", message));
        };
        let e = self.existing(e, ":db/cas compares with what an entity has")?;
        let a = self.attribute(a)?;
        let attribute = self.db.schema().attribute(a);
        if attribute.is_many() {
            let message =
                format!("{} has cardinality many: :db/cas takes attributes of cardinality one", attribute.ident);
            return Err(Error::incorrect("db.error/cas-cardinality-many", message));
        }
        let expected = match old {
            Edn::Nil => None,
            form => Some(self.db.require_value(a, form)?),
        };
        let new = self.operand(a, new, scope)?;
        let present = self.db.value(e, a)?;
        if present != expected {
            let show = |value: &Option<Value>| value.as_ref().map_or(Edn::Nil, Edn::from);
            let message = format!(
                "{} of entity {e} is {}, not {} as :db/cas expects",
                attribute.ident,
                brief(&show(&present)),
                brief(&show(&expected))
            );
            return Err(Error::conflict("db.error/cas-failed", message)
                .with("e", e.as_long())
                .with("a", attribute.ident.clone())
                .with("v-old", detail(&show(&expected)))
                .with("v", detail(&show(&present))));
        }
        self.push_add(Entity::Known(e), a, new)
    }

    /// Retracts an entity's datoms, the references to it, and its components with theirs.
    fn retract_entity(&mut self, args: &[Edn]) -> Result<()> {
        let [e] = args else {
            let message = "retracting an entity is [:db/retractEntity entity]";
            return Err(Error::incorrect("db.error/invalid-tx-data", message));
        };
        let db = self.db;
        let mut waiting = vec![self.existing(e, ":db/retractEntity takes what an entity has")?];
        let mut seen: FxHashSet<EntityId> = waiting.iter().copied().collect();
        while let Some(e) = waiting.pop() {
            self.retract_matching(&Pattern::all().e(e), |datom| {
                if let Some(part) = datom.v.as_ref()
                    && db.schema().attribute(datom.a()).component
                    && seen.insert(part)
                {
                    waiting.push(part);
                }
            })?;
            self.retract_matching(&Pattern::all().v(&Value::Ref(e)), |_| ())?;
        }
        Ok(())
    }

    // Names.

    /// An entity as an operation's first element, or the value of a reference.
    fn entity(&mut self, form: &Edn, scope: &Scope<'_>) -> Result<Entity> {
        match form {
            Edn::String(name) => Ok(self.tempid(name, scope)),
            _ => self.known(form).map(Entity::Known),
        }
    }

    fn tempid(&mut self, name: &Text, scope: &Scope<'_>) -> Entity {
        if is_tx_name(name) {
            self.found.names_tx = true;
            return Entity::Known(self.tx);
        }
        Entity::Temp(self.found.tempids.named(name, scope))
    }

    /// An entity of db-before.
    fn known(&self, form: &Edn) -> Result<EntityId> {
        let Some(e) = self.db.entity(form)? else {
            let message = format!(
                "{} names no entity of the database before the transaction; what the transaction itself makes is \
                 named by a tempid, a string",
                brief(form)
            );
            return Err(Error::not_found("db.error/not-an-entity", message).with("entity", detail(form)));
        };
        if matches!(form, Edn::Long(_)) && !self.db.entity_exists(e)? {
            let message =
                format!("there is no entity {e}: ids are given out by the database; name a new entity by a string");
            return Err(Error::not_found("db.error/not-an-entity", message).with("entity", e.as_long()));
        }
        Ok(e)
    }

    /// An entity of db-before where a tempid will not do.
    fn existing(&self, form: &Edn, why: &str) -> Result<EntityId> {
        if let Edn::String(name) = form {
            let message = format!("{why} before the transaction, so it cannot take the tempid {}", brief(&**name));
            return Err(Error::incorrect("db.error/not-an-entity", message));
        }
        self.known(form)
    }

    fn attribute(&self, form: &Edn) -> Result<AttrId> {
        if let Edn::Keyword(name) = form
            && name.name().starts_with('_')
            && reversed(name, self.db.schema()).is_some()
        {
            let message = format!("{name} is a reversed attribute: those are for the keys of maps");
            return Err(Error::incorrect("db.error/not-an-attribute", message));
        }
        if let Edn::Keyword(name) = form
            && name.namespace() == Some("db.install")
        {
            let message =
                format!("{name} is not supported; leave it out: an entity with :db/valueType is an attribute");
            return Err(Error::unsupported("db.error/unsupported", message));
        }
        let a = self.db.require_attribute(form).map_err(|error| match form {
            Edn::Keyword(name) if self.is_named_here(name) => {
                let message = format!(
                    "{name} is no attribute of the database before the transaction: schema and the data that uses it \
                     go in separate transactions"
                );
                Error::not_found("db.error/not-an-entity", message).with("attribute", detail(form))
            }
            _ => error,
        })?;
        let id = self.db.schema().attribute(a).id;
        if id < FIRST_USER && !WRITABLE.contains(&id) {
            let message = format!("{} is not supported yet in tx-data", self.db.schema().attribute(a).ident);
            return Err(Error::unsupported("db.error/unsupported", message));
        }
        Ok(a)
    }

    /// Whether the tx-data itself gives this ident to an entity.
    fn is_named_here(&self, ident: &Keyword) -> bool {
        let named = || {
            let idents = self.top.iter().filter_map(|form| match form.get("db/ident") {
                Some(Edn::Keyword(ident)) => Some(ident.clone()),
                _ => None,
            });
            idents.collect()
        };
        self.idents.get_or_init(named).contains(ident)
    }

    /// The value of an operation.
    fn operand(&mut self, a: AttrId, form: &Edn, scope: &Scope<'_>) -> Result<Operand> {
        let attribute = self.db.schema().attribute(a);
        if attribute.is_ref() {
            return match form {
                Edn::Nil => value_of(attribute, form).map(Operand::Value),
                Edn::Map(_) => Err(Error::incorrect(
                    "db.error/invalid-tx-data",
                    format!("{} is a nested map: those stand in maps only, not in lists", brief(form)),
                )),
                Edn::String(_) | Edn::Long(_) | Edn::Keyword(_) | Edn::Vector(_) | Edn::List(_) => {
                    self.entity(form, scope).map(Operand::from)
                }
                _ => value_of(attribute, form).map(Operand::Value),
            };
        }
        let value = value_of(attribute, form)?;
        let bytes = bytes_of(&value);
        if bytes > self.limits.value_bytes_max {
            return Err(too_long(attribute, bytes, self.limits.value_bytes_max));
        }
        Ok(Operand::Value(value))
    }

    // Accounts.

    fn push_add(&mut self, e: Entity, a: AttrId, v: Operand) -> Result<()> {
        if let Entity::Temp(temp) = e {
            self.found.tempids.assert(temp);
        }
        self.push(Op::Add(e, a, v))
    }

    fn push(&mut self, op: Op) -> Result<()> {
        if self.found.ops.len() >= self.limits.datoms_max {
            return Err(self.stop("datoms", self.limits.datoms_max));
        }
        self.found.ops.push(op);
        Ok(())
    }

    fn count_form(&mut self) -> Result<()> {
        self.forms += 1;
        if self.forms > self.limits.forms_max {
            return Err(self.stop("forms", self.limits.forms_max));
        }
        Ok(())
    }

    /// A limit on the whole transaction is met: the expansion ends here.
    fn stop(&mut self, what: &str, max: usize) -> Error {
        let error = || {
            let message = format!("the transaction has more than {max} {what} once expanded; split it");
            Error::incorrect("db.error/transaction-too-large", message).with("limit", max as i64)
        };
        self.over_limit = Some(error());
        error()
    }
}

const FIRST_USER: EntityId = EntityId::new(Partition::Db, FIRST_USER_COUNTER);

/// System attributes that tx-data may speak of.
const WRITABLE: [EntityId; 8] = [
    ids::IDENT,
    ids::VALUE_TYPE,
    ids::CARDINALITY,
    ids::UNIQUE,
    ids::INDEX,
    ids::IS_COMPONENT,
    ids::DOC,
    ids::TX_INSTANT,
];

fn is_db_id(key: &Edn) -> bool {
    matches!(key, Edn::Keyword(key) if key.as_str() == ID)
}

/// `:ns/attr` for `:ns/_attr`, unless an attribute bears the very name.
fn reversed(key: &Keyword, schema: &Schema) -> Option<Edn> {
    let name = key.name().strip_prefix('_')?;
    if schema.attr_of_ident(key).is_some() {
        return None;
    }
    let forward = match key.namespace() {
        Some(namespace) => Keyword::new(format!("{namespace}/{name}")),
        None => Keyword::new(name),
    };
    Some(Edn::Keyword(forward))
}

/// The size of a value as its writer sees it.
fn bytes_of(value: &Value) -> usize {
    match value {
        Value::String(text) | Value::Uri(text) => text.len(),
        Value::Keyword(name) => name.as_str().len(),
        Value::Symbol(name) => name.as_str().len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::BigInt(int) => int.bits() as usize / 8,
        Value::BigDec(dec) => dec.unscaled().bits() as usize / 8,
        _ => 0,
    }
}

fn invalid_form(parts: &[Edn], rule: &str) -> Error {
    Error::incorrect("db.error/invalid-tx-data", format!("{}: {rule}", brief_list(parts)))
}

fn too_deep(what: &str, max: usize) -> Error {
    let message = format!("{what} are nested more than {max} deep");
    Error::incorrect("db.error/expansion-too-deep", message).with("limit", max as i64)
}

fn too_long(attribute: &Attribute, bytes: usize, max: usize) -> Error {
    let message = format!("the value of {} has {bytes} bytes; at most {max} are allowed", attribute.ident);
    Error::incorrect("db.error/value-too-large", message)
        .with("attribute", attribute.ident.clone())
        .with("bytes", bytes as i64)
        .with("limit", max as i64)
}

fn nested_needs(attribute: &Attribute) -> Error {
    let message = format!(
        "a nested map needs a :db/id, a unique attribute in it, or a component attribute above it, and {} is none",
        attribute.ident
    );
    Error::incorrect("db.error/invalid-nested-entity", message).with("attribute", attribute.ident.clone())
}

/// A tempid used only as a value would make an entity of which nothing is said.
pub(super) fn check_tempids(found: &Expanded) -> Result<()> {
    let mut problems = Problems::default();
    let mut check = |temp: TempId| {
        if !found.tempids.is_asserted(temp) {
            problems.add(unasserted(&found.tempids, temp));
        }
    };
    for op in &found.ops {
        match op {
            Op::Add(e, _, v) | Op::Retract(e, _, v) => {
                if let Entity::Temp(temp) = e {
                    check(*temp);
                }
                if let Operand::Temp(temp) = v {
                    check(*temp);
                }
            }
            Op::RetractAll(temp, _) => check(*temp),
        }
    }
    problems.finish()
}

fn unasserted(tempids: &Tempids, temp: TempId) -> Error {
    let name = tempids.describe(temp);
    let place = tempids.function(temp).map_or(String::new(), |function| format!(" in the result of {function}"));
    let message = match name {
        Edn::String(_) => {
            format!(
                "tempid {}{place} is used, but nothing is asserted about it; a string is a tempid here",
                brief(&name)
            )
        }
        _ => "a nested map has no attributes, so there is no entity to refer to".into(),
    };
    Error::incorrect("db.error/tempid-not-an-entity", message).with("tempid", detail(&name))
}
