//! What stands for entities and attributes: idents, lookup refs, entity ids.

use super::super::ast::{Arg, Binding, Clause, Kind, SourceId, Term, Var, VarSet};
use super::super::rules::RuleFacts;
use super::Source;
use crate::edn::Edn;
use crate::model::{AttrId, EntityId, T, Value, ValueType};
use crate::schema::Attribute;
use crate::text::brief;
use crate::text::did_you_mean;
use crate::{Db, Error, Result};

/// The entity a value stands for in a database: an id, an ident or a lookup ref. None where there is none.
pub(crate) fn entity_in(db: &Db, value: &Value) -> Result<Option<EntityId>> {
    Ok(match value {
        Value::Ref(e) => Some(*e),
        Value::Long(long) => EntityId::from_long(*long),
        Value::Keyword(ident) => db.entity_of_ident(ident)?,
        Value::Tuple(parts) => match parts.as_slice() {
            [Some(attribute @ (Value::Keyword(_) | Value::Long(_) | Value::Ref(_))), Some(value)] => {
                return lookup_ref(db, attribute, value);
            }
            _ => None,
        },
        _ => None,
    })
}

fn lookup_ref(db: &Db, attribute: &Value, value: &Value) -> Result<Option<EntityId>> {
    let a = attribute_in(db, attribute)?;
    let attribute = db.schema().attribute(a);
    if attribute.unique.is_none() {
        return Err(Error::incorrect(
            "db.error/lookup-ref-attr-not-unique",
            format!("the lookup ref [{} {value}] needs a unique attribute, which this is not", attribute.ident),
        ));
    }
    match value_for(db, attribute, value)? {
        Some(value) if !value.is_nan() => db.lookup(a, &value),
        _ => Ok(None),
    }
}

/// The attribute a constant names, or an error that lists near names.
pub(crate) fn attribute_in(db: &Db, value: &Value) -> Result<AttrId> {
    let schema = db.schema();
    let entity = match value {
        Value::Keyword(ident) => {
            if let Some(a) = schema.attr_of_ident(ident) {
                return Ok(a);
            }
            db.entity_of_ident(ident)?
        }
        Value::Long(long) => EntityId::from_long(*long),
        Value::Ref(e) => Some(*e),
        _ => None,
    };
    if let Some(a) = entity.and_then(|e| schema.attr_of_entity(e)) {
        return Ok(a);
    }
    let message = match (value, entity) {
        (Value::Keyword(ident), None) => {
            let idents: Vec<&str> = schema.attributes().map(|(_, attribute)| attribute.ident.as_str()).collect();
            let near = did_you_mean(ident.as_str(), idents.into_iter());
            format!("{ident} is no attribute of this database{near}")
        }
        _ => format!("{value} is no attribute"),
    };
    Err(Error::not_found("db.error/not-an-entity", message).with("attribute", Edn::from(value)))
}

/// A constant or input as a value of an attribute: references resolved, and what has no literal of its own taken
/// from the literal next to it. None where it stands for no entity.
pub(crate) fn value_for(db: &Db, attribute: &Attribute, value: &Value) -> Result<Option<Value>> {
    Ok(match attribute.value_type {
        ValueType::Ref => entity_in(db, value)?.map(Value::Ref),
        value_type => Some(of_type(value_type, value)),
    })
}

/// A value of the type, where it is given by the literal next to one of that type; any other value as it is.
pub(crate) fn of_type(value_type: ValueType, value: &Value) -> Value {
    match (value_type, value) {
        (ValueType::Float, Value::Double(x)) => Value::float(*x as f32),
        (ValueType::BigInt, Value::Long(x)) => Value::BigInt(std::sync::Arc::new((*x).into())),
        (ValueType::Uri, Value::String(text)) => Value::Uri(text.clone()),
        _ => value.clone(),
    }
}

/// Whether a constant can stand for a value of an attribute, whatever the data.
fn can_be(attribute: &Attribute, value: &Value) -> bool {
    let given = value.value_type();
    match attribute.value_type {
        ValueType::Ref => matches!(value, Value::Ref(_) | Value::Long(_) | Value::Keyword(_) | Value::Tuple(_)),
        ValueType::Float => matches!(value, Value::Float(_) | Value::Double(_)),
        ValueType::BigInt => matches!(value, Value::BigInt(_) | Value::Long(_)),
        ValueType::Uri => matches!(value, Value::Uri(_) | Value::String(_)),
        own => own == given,
    }
}

/// The transaction a value in the tx slot stands for: its entity, or its t.
pub(crate) fn t_in(db: &Db, value: &Value) -> Result<Option<T>> {
    Ok(entity_in(db, &transaction_of_t(value.clone()))?.and_then(EntityId::as_tx))
}

/// A t as the entity of its transaction; any other value as it is.
pub(crate) fn transaction_of_t(value: Value) -> Value {
    match &value {
        Value::Long(long) => match EntityId::from_long(*long) {
            Some(e) if e.partition_bits() == 0 => Value::Ref(EntityId::of_tx(e.counter())),
            _ => value,
        },
        _ => value,
    }
}

/// Whether an entity stands in a slot of a data pattern; `of_refs`: its attribute is known to hold references.
fn is_entity_slot(slot: usize, of_refs: bool) -> bool {
    matches!(slot, 0 | 1 | 3) || (slot == 2 && of_refs)
}

/// The variables of a data pattern that stand where entities stand.
pub(crate) fn entity_vars<'t>(db: &Db, terms: &'t [Term]) -> impl Iterator<Item = Var> + 't {
    let attribute = match terms.get(1) {
        Some(Term::Const(value)) => attribute_in(db, value).ok().map(|a| db.schema().attribute(a)),
        _ => None,
    };
    let of_refs = attribute.is_some_and(Attribute::is_ref);
    terms.iter().enumerate().filter(move |(slot, _)| is_entity_slot(*slot, of_refs)).filter_map(|(_, term)| term.var())
}

/// How the variables of a query or a rule branch are used, found before it runs.
pub(crate) struct Scope {
    names: Vec<String>,
    uses: Vec<Use>,
    /// Patterns that no datom can match, told to whoever asked.
    warnings: Vec<String>,
}

#[derive(Clone, Default, Debug)]
pub(crate) struct Use {
    /// The databases in which it stands where an entity stands.
    pub entity_in: Vec<SourceId>,
    /// It stands where a transaction stands.
    transaction: bool,
    /// It stands where a plain value stands.
    value: bool,
    /// The types of the attributes whose plain values it stands for.
    types: Vec<ValueType>,
    /// An input, a function or a relation gives it its values, in a form of their own.
    given: bool,
    /// Whatever the clauses find, it is an entity there. What stands for one in a `not` alone, or in some branches of
    /// an `or`, may be anything else besides.
    always_entity: bool,
}

impl Scope {
    /// Looks at all clauses; an unknown attribute or an unusable source is an error here, whatever the data.
    pub(crate) fn new(
        sources: &[Source],
        facts: &RuleFacts,
        names: &[String],
        default: Option<SourceId>,
        clauses: &[Clause],
        inputs: &VarSet,
    ) -> Result<Scope> {
        let mut scope = Scope { names: names.to_vec(), uses: vec![Use::default(); names.len()], warnings: Vec::new() };
        for var in inputs.iter() {
            scope.uses[var.0 as usize].given = true;
        }
        scope.look_at(sources, facts, default, clauses)?;
        let always = facts.entities_always(sources, default, clauses);
        for var in always.iter() {
            scope.use_mut(var).always_entity = true;
        }
        Ok(scope)
    }

    fn use_mut(&mut self, var: Var) -> &mut Use {
        &mut self.uses[var.0 as usize]
    }

    fn look_at(
        &mut self,
        sources: &[Source],
        facts: &RuleFacts,
        default: Option<SourceId>,
        clauses: &[Clause],
    ) -> Result<()> {
        for clause in clauses {
            match &clause.kind {
                Kind::Pattern { source, terms } => self.look_at_pattern(sources, source.or(default), clause, terms)?,
                Kind::Call(call) => {
                    // The entity argument of get-else and its like takes an entity in any form.
                    for arg in &call.args {
                        if let Arg::Var(var) = arg {
                            self.use_mut(*var).value = true;
                        }
                    }
                    for var in call.binding.iter().flat_map(Binding::vars) {
                        self.use_mut(var).given = true;
                    }
                }
                Kind::Not { source, clauses, .. } => self.look_at(sources, facts, source.or(default), clauses)?,
                Kind::Or { source, branches, .. } => {
                    for branch in branches {
                        self.look_at(sources, facts, source.or(default), branch)?;
                    }
                }
                Kind::Rule { source, name, args } => {
                    let source = source.or(default);
                    for (i, arg) in args.iter().enumerate() {
                        if let (Term::Var(var), Some(entity_source)) = (arg, facts.entity_param(name, i, source)) {
                            self.at_entity(*var, entity_source);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Notes that a variable that may stand for an entity has its values from elsewhere, in a form that each clause
    /// resolves for itself.
    pub(crate) fn may_come_unresolved(&mut self, var: Var) {
        let used = self.use_mut(var);
        used.given |= !used.entity_in.is_empty();
        used.always_entity = false;
    }

    /// Notes that what is found for a variable is always an entity of a database.
    pub(crate) fn always_at_entity(&mut self, var: Var, source: SourceId) {
        self.at_entity(var, source);
        self.use_mut(var).always_entity = true;
    }

    /// Notes that a variable stands where an entity of a database stands.
    fn at_entity(&mut self, var: Var, source: SourceId) {
        let used = self.use_mut(var);
        if !used.entity_in.contains(&source) {
            used.entity_in.push(source);
            used.entity_in.sort();
        }
    }

    fn look_at_pattern(
        &mut self,
        sources: &[Source],
        source: Option<SourceId>,
        clause: &Clause,
        terms: &[Term],
    ) -> Result<()> {
        let source = source.ok_or_else(|| {
            Error::incorrect(
                "db.error/invalid-query",
                format!("the clause {} names no source, and :in has no $", brief(&clause.form)),
            )
        })?;
        let db = match &sources[source.0] {
            Source::Db(db) => db,
            Source::Relation(_) => {
                for var in terms.iter().filter_map(Term::var) {
                    self.use_mut(var).given = true;
                }
                return Ok(());
            }
        };
        if terms.len() > 5 {
            return Err(Error::incorrect(
                "db.error/invalid-query",
                format!("the data pattern {} has more than [e a v tx op]", brief(&clause.form)),
            ));
        }
        let attribute = match terms.get(1) {
            Some(Term::Const(value)) => {
                let a = attribute_in(db, value).map_err(|error| in_clause(error, clause))?;
                Some(db.schema().attribute(a))
            }
            _ => None,
        };
        if let (Some(attribute), Some(Term::Const(value))) = (attribute, terms.get(2))
            && !can_be(attribute, value)
        {
            let (ident, holds, is) = (&attribute.ident, attribute.value_type.name(), value.value_type().name());
            let value = brief(value);
            self.warnings
                .push(format!("{} never matches: {ident} is of type {holds}, {value} is a {is}", brief(&clause.form)));
        }
        for (slot, term) in terms.iter().enumerate() {
            let Term::Var(var) = term else { continue };
            self.use_mut(*var).transaction |= slot == 3;
            match (slot, attribute) {
                _ if is_entity_slot(slot, attribute.is_some_and(Attribute::is_ref)) => self.at_entity(*var, source),
                // The attribute is not known yet: entities and values are both possible.
                (2, None) => {}
                (2, Some(attribute)) => {
                    let used = self.use_mut(*var);
                    used.value = true;
                    if !used.types.contains(&attribute.value_type) {
                        used.types.push(attribute.value_type);
                    }
                }
                _ => self.use_mut(*var).value = true,
            }
        }
        Ok(())
    }

    /// Whether a t given to this variable means that transaction.
    pub(crate) fn takes_t(&self, var: Var) -> bool {
        self.uses.get(var.0 as usize).is_some_and(|used| used.transaction && !used.value)
    }

    /// The database in which values given to this variable are resolved as soon as they are bound.
    pub(crate) fn resolves_in(&self, var: Var) -> Option<SourceId> {
        let used = self.uses.get(var.0 as usize)?;
        match used.entity_in.as_slice() {
            [source] if used.always_entity && !used.value => Some(*source),
            _ => None,
        }
    }

    /// Whether values of this variable may stand for entities in forms that each clause resolves for itself.
    pub(crate) fn may_be_unresolved(&self, var: Var) -> bool {
        self.uses.get(var.0 as usize).is_some_and(|used| used.given && !used.entity_in.is_empty())
            && self.resolves_in(var).is_none()
    }

    /// The type that values given to this variable take as soon as they are bound, where another literal stands for
    /// one of that type.
    pub(crate) fn takes_type(&self, var: Var) -> Option<ValueType> {
        match self.uses.get(var.0 as usize)?.types.as_slice() {
            [one @ (ValueType::Float | ValueType::BigInt | ValueType::Uri)] => Some(*one),
            _ => None,
        }
    }

    /// The databases in which a variable stands where an entity stands.
    pub(crate) fn entity_sources(&self, var: Var) -> &[SourceId] {
        self.uses.get(var.0 as usize).map_or(&[], |used| &used.entity_in)
    }

    /// Whether values come in the form someone wrote them: literals of the nearest type.
    pub(crate) fn is_given(&self, var: Var) -> bool {
        self.uses.get(var.0 as usize).is_some_and(|used| used.given)
    }

    pub(crate) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    pub(crate) fn name(&self, var: Var) -> &str {
        self.names.get(var.0 as usize).map_or("_", String::as_str)
    }
}

/// Says in which clause an error was found.
pub(crate) fn in_clause(error: Error, clause: &Clause) -> Error {
    let message = format!("{}, in the clause {}", error.message(), brief(&clause.form));
    let mut named = Error::new(error.category(), error.code().to_string(), message);
    for (key, value) in error.details() {
        named = named.with(key.clone(), value.clone());
    }
    named.with("clause", clause.form.clone())
}
