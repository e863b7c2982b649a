//! The transaction's instant, fixed before functions are expanded.

use super::expand::{ADD, ID, is_tx_name};
use crate::edn::Edn;
use crate::model::Instant;
use crate::{Error, Result};

/// The instant that tx-data gives itself, or `now`; never before the last transaction's.
///
/// Only the tx-data's own forms are asked; `:db/txInstant` elsewhere (nested, or from a function) is an assertion
/// like any other and must agree with what is fixed here.
pub(super) fn fix(forms: &[Edn], last: Option<Instant>, now: Instant) -> Result<Instant> {
    let clock = last.map_or(now, |last| now.max(last));
    let mut explicit: Option<Instant> = None;
    for given in forms.iter().filter_map(given) {
        match explicit {
            Some(other) if other != given => {
                let (low, high) = (other.min(given), other.max(given));
                let message = format!(
                    "the transaction gives itself two instants: [:db/add \"datomic.tx\" :db/txInstant #inst \"{low}\"] \
                     and [:db/add \"datomic.tx\" :db/txInstant #inst \"{high}\"]"
                );
                return Err(Error::conflict("db.error/datoms-conflict", message));
            }
            _ => explicit = Some(given),
        }
    }
    let Some(instant) = explicit else { return Ok(clock) };
    if let Some(last) = last
        && instant < last
    {
        let message =
            format!(":db/txInstant {instant} is before the last transaction's, {last}; instants never go back");
        return Err(Error::incorrect("db.error/past-tx-instant", message).with("last", Edn::Inst(last)));
    }
    if instant > clock {
        let message = format!(":db/txInstant {instant} is after the transactor's clock, {clock}");
        return Err(Error::incorrect("db.error/future-tx-instant", message).with("now", Edn::Inst(clock)));
    }
    Ok(instant)
}

/// The `:db/txInstant` a form gives to this transaction.
fn given(form: &Edn) -> Option<Instant> {
    let is_tx = |e: &Edn| matches!(e, Edn::String(name) if is_tx_name(name));
    let value = match form {
        Edn::Map(_) if form.get(ID).is_some_and(is_tx) => form.get("db/txInstant")?,
        Edn::Vector(parts) | Edn::List(parts) => match &parts[..] {
            [Edn::Keyword(op), e, Edn::Keyword(a), v]
                if op.as_str() == ADD && a.as_str() == "db/txInstant" && is_tx(e) =>
            {
                v
            }
            _ => return None,
        },
        _ => return None,
    };
    match value {
        Edn::Inst(instant) => Some(*instant),
        _ => None,
    }
}
