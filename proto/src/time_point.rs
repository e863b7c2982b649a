//! Moments as the wire has them.

use crate::v1::{self, time_point::Kind};
use db::edn::Edn;
use db::{Db, EntityId, Error, Instant, Result, TimePoint};

/// Reads a moment of a database.
pub fn time_point(db: &Db, point: &v1::TimePoint) -> Result<TimePoint> {
    match &point.kind {
        Some(Kind::T(t)) => Ok(TimePoint::T(*t)),
        Some(Kind::Tx(tx)) => match EntityId::from_long(*tx).and_then(EntityId::as_tx) {
            Some(t) => Ok(TimePoint::T(t)),
            None => {
                let message = format!("{tx} is no transaction's entity id; give 3·2^42 + t, or a t, or an instant");
                Err(Error::incorrect("db.error/invalid-time-point", message))
            }
        },
        Some(Kind::InstantMs(ms)) => Ok(TimePoint::Instant(Instant(*ms))),
        Some(Kind::Edn(text)) => {
            let form: Edn = db::edn::read(text)?;
            db.time_point(&form)
        }
        None => {
            let message = "a time point has none of its fields set: give t, tx, instant_ms or edn";
            Err(Error::incorrect("db.error/invalid-time-point", message))
        }
    }
}
