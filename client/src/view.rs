//! Which database, and how much of its time.

use crate::ToTxData;
use db::edn::Edn;
use db::{EntityId, Error, Instant, Result, T, TimePoint};
use proto::v1;

/// A database by its name, and a view of its time. Views compose: `since` one moment and `as_of` another.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    name: String,
    as_of: Option<TimePoint>,
    since: Option<TimePoint>,
    history: bool,
    least_t: T,
    /// Transactions that nobody makes, as EDN text.
    with: Vec<String>,
}

impl View {
    /// The database as the peer knows it now.
    pub fn of(name: impl Into<String>) -> View {
        View { name: name.into(), ..View::default() }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Facts up to and including this moment.
    pub fn as_of(mut self, moment: TimePoint) -> View {
        self.as_of = Some(moment);
        self
    }

    /// As [`Self::as_of`], by the number of a transaction.
    pub fn as_of_t(self, t: T) -> View {
        self.as_of(TimePoint::T(t))
    }

    /// Facts after this moment.
    pub fn since(mut self, moment: TimePoint) -> View {
        self.since = Some(moment);
        self
    }

    /// As [`Self::since`], by the number of a transaction.
    pub fn since_t(self, t: T) -> View {
        self.since(TimePoint::T(t))
    }

    /// Every assertion and retraction there ever was.
    pub fn history(mut self) -> View {
        self.history = true;
        self
    }

    /// As the database would be after a transaction that nobody makes. Several are applied one after the other, to
    /// what is true when the view is asked; `as_of`, `since` and `history` then look at what they gave.
    ///
    /// [`Client::with`](crate::Client::with) tells what such a transaction would say.
    ///
    /// ```no_run
    /// # async fn example(client: diachron_client::Client) -> db::Result<()> {
    /// use diachron_client::{Entity, TxData, View};
    ///
    /// let merged = TxData::new().retract_entity(Entity::lookup("country/code", "CS"));
    /// let left: Option<i64> = client
    ///     .query("[:find (count ?c) . :where [?c :country/code]]")
    ///     .database("$", View::of("world").with(merged)?)
    ///     .value()
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn with(mut self, tx_data: impl ToTxData) -> Result<View> {
        self.with.push(tx_data.to_tx_data()?);
        Ok(self)
    }

    /// The peer waits until it knows transaction t: the t of a transaction's answer reads one's own writes anywhere.
    pub fn at_least(mut self, t: T) -> View {
        self.least_t = t;
        self
    }

    /// The largest t that the view names as a moment.
    pub fn named_t(&self) -> Option<T> {
        let t = |moment: &Option<TimePoint>| match moment {
            Some(TimePoint::T(t)) => Some(*t),
            _ => None,
        };
        t(&self.as_of).max(t(&self.since))
    }

    /// With no lower least t than this.
    pub(super) fn raised(mut self, floor: T) -> View {
        self.least_t = self.least_t.max(floor);
        self
    }

    pub(super) fn as_of_moment(&self) -> Option<TimePoint> {
        self.as_of
    }

    /// The same database value whenever it is asked, now that the newest transaction is known; None where the wire has
    /// no name for that value.
    pub(super) fn fixed_at(&self, basis_t: T) -> Option<View> {
        let as_of = match self.as_of {
            _ if !self.with.is_empty() => None,
            Some(TimePoint::Instant(_)) => None,
            Some(TimePoint::T(t)) => Some(t.min(basis_t)),
            None => Some(basis_t),
        };
        Some(self.clone().as_of_t(as_of?).at_least(basis_t))
    }

    pub(super) fn into_wire(self) -> v1::DatabaseView {
        v1::DatabaseView {
            name: self.name,
            as_of: self.as_of.map(time_point),
            since: self.since.map(time_point),
            history: self.history,
            least_t: self.least_t,
            with_tx_data: self.with.into_iter().map(tx_data).collect(),
        }
    }
}

impl From<&str> for View {
    fn from(name: &str) -> View {
        View::of(name)
    }
}

impl From<&String> for View {
    fn from(name: &String) -> View {
        View::of(name)
    }
}

impl From<String> for View {
    fn from(name: String) -> View {
        View::of(name)
    }
}

/// Reads a moment as people write one: a t (`17`), a transaction's entity id (`13194139533329`), or an instant
/// (`2013-06-01`, `2013-06-01T12:00:00Z`, `#inst "2013-06"`).
pub fn moment(text: &str) -> Result<TimePoint> {
    let no_moment = || {
        let message = format!(
            "`{text}` is no moment: give a t such as 17, a transaction's entity id, or an instant such as 2013-06-01"
        );
        Error::incorrect("db.error/invalid-time-point", message)
    };
    let text = text.trim();
    if text.bytes().all(|b| b.is_ascii_digit()) {
        let id = text.parse().ok().and_then(EntityId::from_long).ok_or_else(no_moment)?;
        return match (id.as_tx(), id.partition_bits()) {
            (Some(t), _) => Ok(TimePoint::T(t)),
            (None, 0) => Ok(TimePoint::T(id.counter())),
            _ => Err(no_moment()),
        };
    }
    if text.starts_with('#') {
        return match db::edn::read(text)? {
            Edn::Inst(instant) => Ok(TimePoint::Instant(instant)),
            _ => Err(no_moment()),
        };
    }
    Instant::parse(text).map(TimePoint::Instant).ok_or_else(no_moment)
}

fn tx_data(text: String) -> v1::TxData {
    v1::TxData { kind: Some(v1::tx_data::Kind::Edn(text)) }
}

pub(crate) fn time_point(moment: TimePoint) -> v1::TimePoint {
    use v1::time_point::Kind;
    let kind = match moment {
        TimePoint::T(t) => Kind::T(t),
        TimePoint::Instant(instant) => Kind::InstantMs(instant.0),
    };
    v1::TimePoint { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_t_a_transaction_or_an_instant() {
        assert_eq!(moment("17").unwrap(), TimePoint::T(17));
        assert_eq!(moment(&EntityId::of_tx(17).to_string()).unwrap(), TimePoint::T(17));
        let june = TimePoint::Instant(Instant::parse("2013-06-01T00:00:00.000Z").unwrap());
        for text in ["2013-06-01", "2013-06", "2013-06-01T00:00:00Z", "#inst \"2013-06-01\"", " 2013-06-01 "] {
            assert_eq!(moment(text).unwrap(), june, "{text}");
        }
    }

    #[test]
    fn a_view_is_fixed_at_what_was_seen_of_it() {
        let world = View::of("world");
        let at = |t| world.clone().as_of_t(t).at_least(9);
        assert_eq!(world.fixed_at(9), Some(at(9)));
        assert_eq!(at(7).fixed_at(9), Some(at(7)));
        assert_eq!(at(17).fixed_at(9), Some(at(9)));
        assert_eq!(world.clone().history().since_t(3).fixed_at(9), Some(at(9).history().since_t(3)));
        // An instant may still come to mean more, and what nobody committed has no t.
        assert_eq!(world.clone().as_of(moment("2013-06").unwrap()).fixed_at(9), None);
        assert_eq!(world.with("[]").unwrap().fixed_at(9), None);
    }

    #[test]
    fn what_is_no_moment_is_refused_with_what_is_one() {
        for text in ["", "yesterday", "-1", "17592186044417", "99999999999999999999", "#inst \"x\"", "#uuid \"\""] {
            let error = moment(text).unwrap_err();
            assert_eq!(error.category(), db::Category::Incorrect, "{text}");
        }
        assert!(moment("soon").unwrap_err().message().contains("`soon` is no moment"), "{:?}", moment("soon"));
    }
}
