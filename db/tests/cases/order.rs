//! The same forms in other orders.

use diachron_db::edn::Edn;

/// The most orders of one sequence that are tried.
const ORDERS_MAX: usize = 120;

/// Every order of up to five forms; of more, as many rotations and reversed rotations as there may be orders.
pub fn orders(forms: &[Edn]) -> Vec<Vec<Edn>> {
    if forms.len() <= 5 {
        let mut all = vec![Vec::new()];
        for form in forms {
            let inserted = all.iter().flat_map(|order: &Vec<Edn>| {
                (0..=order.len()).rev().map(|at| {
                    let mut order = order.clone();
                    order.insert(at, form.clone());
                    order
                })
            });
            all = inserted.collect();
        }
        return all;
    }
    let reversed: Vec<Edn> = forms.iter().rev().cloned().collect();
    let rotations = |forms: &[Edn]| {
        let rotation = |by: usize| forms[by..].iter().chain(&forms[..by]).cloned().collect::<Vec<Edn>>();
        (0..forms.len().min(ORDERS_MAX / 2)).map(rotation).collect::<Vec<_>>()
    };
    [rotations(forms), rotations(&reversed)].concat()
}

/// A query in map form; any other form as it is.
fn as_map(query: &Edn) -> Edn {
    let Some(forms) = query.as_sequence() else { return query.clone() };
    let mut sections: Vec<(Edn, Edn)> = Vec::new();
    for form in forms {
        match form {
            // A section twice is an error of its own, which a map cannot say.
            Edn::Keyword(_) if sections.iter().any(|(key, _)| key == form) => return query.clone(),
            Edn::Keyword(_) => sections.push((form.clone(), Edn::Vector(vec![]))),
            other => match sections.last_mut() {
                Some((_, Edn::Vector(section))) => section.push(other.clone()),
                _ => return query.clone(),
            },
        }
    }
    Edn::Map(sections)
}

/// The query as written, in map form with its clauses in every order, and with the clauses inside clauses reversed.
pub fn queries(query: &Edn) -> Vec<Edn> {
    let map = as_map(query);
    let (Edn::Map(sections), Some(clauses)) = (&map, map.get("where").and_then(Edn::as_sequence)) else {
        return vec![query.clone()];
    };
    let with = |clauses: Vec<Edn>| {
        let replace = |(key, section): &(Edn, Edn)| {
            let is_where = *key == Edn::keyword("where");
            (key.clone(), if is_where { Edn::Vector(clauses.clone()) } else { section.clone() })
        };
        Edn::Map(sections.iter().map(replace).collect())
    };
    let inner: Vec<Edn> = clauses.iter().map(reversed).collect();
    let mut all = vec![query.clone(), with(inner)];
    all.extend(orders(clauses).into_iter().map(with));
    all
}

/// A clause with the clauses inside `not`, `or` and `and` in reverse order.
fn reversed(clause: &Edn) -> Edn {
    let Edn::List(forms) = clause else { return clause.clone() };
    let is = |form: &Edn, names: &[&str]| matches!(form, Edn::Symbol(symbol) if names.contains(&symbol.as_str()));
    let Some(at) = forms.iter().take(2).position(|form| is(form, &["not", "or", "and", "not-join", "or-join"])) else {
        return clause.clone();
    };
    let head = at + 1 + usize::from(is(&forms[at], &["not-join", "or-join"]));
    let Some(inner) = forms.get(head..) else { return clause.clone() };
    Edn::List(forms[..head].iter().cloned().chain(inner.iter().rev().map(reversed)).collect())
}

/// A rule set with the rules and the clauses of each in reverse order.
pub fn reversed_rules(rules: &Edn) -> Edn {
    let Some(rules) = rules.as_sequence() else { return rules.clone() };
    let rule = |rule: &Edn| match rule.as_sequence() {
        Some([head, body @ ..]) => {
            Edn::Vector([head.clone()].into_iter().chain(body.iter().rev().map(reversed)).collect())
        }
        _ => rule.clone(),
    };
    Edn::Vector(rules.iter().rev().map(rule).collect())
}
