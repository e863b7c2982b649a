//! The names that queries, pull patterns and tx-data are written with, for whoever completes or lists them.
//!
//! Each comes from the table in which the engine itself looks it up, so that what is listed is what works. Attributes
//! and idents of a database's own are asked of that database.

use crate::model::{Keyword, Symbol};
use crate::tx::Functions;
use crate::{pull, query, schema, tx};

/// Names by where they stand, each list in order and without repetition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// `:find` and what else divides a query.
    pub sections: Vec<Keyword>,
    /// `not`, `or` and what else begins a clause that is no call of a rule.
    pub connectives: Vec<Symbol>,
    /// What may be called in `:find`: the aggregates, and `pull`.
    pub in_find: Vec<Symbol>,
    /// Functions and predicates of clauses.
    pub functions: Vec<Symbol>,
    /// Options of an attribute in a pull pattern.
    pub pull_options: Vec<Keyword>,
    /// Functions that the option `:xform` takes.
    pub transforms: Vec<Symbol>,
    /// What tx-data is written with: `:db/id`, `:db/add`, `:db/retract` and the functions of every process.
    pub tx_data: Vec<Keyword>,
    /// The system's idents that are no attributes, such as `:db.cardinality/many`.
    pub idents: Vec<Keyword>,
}

/// The names that this version knows.
pub fn names() -> Names {
    let tx_data = [tx::ID, tx::ADD, tx::RETRACT].into_iter().map(Keyword::new);
    Names {
        sections: ordered(query::section_names().map(Keyword::new)),
        connectives: ordered(query::connective_names().map(Symbol::new)),
        in_find: ordered(query::callable_names().map(Symbol::new)),
        functions: ordered(query::functions::names().map(Symbol::new)),
        pull_options: ordered(pull::option_names().map(Keyword::new)),
        transforms: ordered(pull::transform_names().map(Symbol::new)),
        tx_data: ordered(tx_data.chain(Functions::native().names().cloned())),
        idents: ordered(schema::system_idents().map(Keyword::new)),
    }
}

fn ordered<N: Ord>(names: impl Iterator<Item = N>) -> Vec<N> {
    let mut names: Vec<N> = names.collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edn;
    use crate::pull::Pattern;
    use crate::query::Query;

    #[test]
    fn every_name_is_known_where_it_stands() {
        let names = names();
        // With the wrong arguments at worst, but never unknown.
        let known = |outcome: crate::Result<()>| {
            let said = outcome.err().map(|error| format!("{}: {}", error.code(), error.message())).unwrap_or_default();
            let strange = ["unknown", "is no section", "rule call"];
            assert!(!strange.into_iter().any(|words| said.contains(words)), "{said}");
        };
        let query = |text: &str| Query::parse(&edn::read(text).unwrap()).map(drop);
        for name in &names.sections {
            known(query(&format!("[:find ?e :where [?e :a/b] {name} ?e]")));
        }
        for name in &names.connectives {
            known(query(&format!("[:find ?e :where [?e :a/b] ({name})]")));
        }
        for name in &names.in_find {
            known(query(&format!("[:find ({name} ?e) :where [?e :a/b]]")));
        }
        for name in &names.functions {
            known(query(&format!("[:find ?e :where [?e :a/b] [({name} ?e)]]")));
        }
        for option in &names.pull_options {
            known(Pattern::parse(&edn::read(&format!("[[:a/b {option} 1]]")).unwrap()).map(drop));
        }
        for name in &names.transforms {
            Pattern::parse(&edn::read(&format!("[[:a/b :xform {name}]]")).unwrap()).unwrap();
        }
    }

    #[test]
    fn names_come_in_order_and_once() {
        let names = names();
        assert!(names.functions.is_sorted() && names.functions.len() > 50);
        for name in ["db/id", "db/add", "db/retract", "db/cas", "db/retractEntity", "fn/increment"] {
            assert!(names.tx_data.contains(&Keyword::new(name)), "{name}");
        }
        for name in ["db.cardinality/many", "db.type/string", "db.unique/value"] {
            assert!(names.idents.contains(&Keyword::new(name)), "{name}");
        }
        assert!(!names.idents.contains(&Keyword::new("db/doc")));
    }
}
