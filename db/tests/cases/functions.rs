//! The transaction functions that cases call; the README of the cases says what each does.

use diachron_db as db;

use db::edn::Edn;
use db::tx::Functions;
use db::{Db, Error, Instant, Result, Value};

pub fn functions() -> Functions {
    let mut functions = Functions::builtin();
    functions.register("test/inc", increment);
    functions.register("test/withdraw", withdraw);
    functions.register("test/emit", |_: &Db, args: &[Edn], _: Instant| Ok(Edn::Vector(args.to_vec())));
    functions.register("test/nothing", |_: &Db, _: &[Edn], _: Instant| Ok(Edn::Nil));
    functions.register("test/make", make);
    functions.register("test/stamp", stamp);
    functions.register("test/set-instant", set_instant);
    functions.register("test/for-ever", |_: &Db, _: &[Edn], _: Instant| Ok(vector([call("test/for-ever", [])])));
    functions.register("test/fail", |_: &Db, _: &[Edn], _: Instant| Err(Error::conflict("test/failed", "it failed")));
    functions.register("test/return", |_: &Db, args: &[Edn], _: Instant| Ok(args[0].clone()));
    functions
}

fn vector(forms: impl IntoIterator<Item = Edn>) -> Edn {
    Edn::Vector(forms.into_iter().collect())
}

fn call(name: &str, args: impl IntoIterator<Item = Edn>) -> Edn {
    vector([Edn::keyword(name)].into_iter().chain(args))
}

fn long(db: &Db, e: &Edn, a: &Edn) -> Result<i64> {
    let value = db.value(db.require_entity(e)?, db.require_attribute(a)?)?;
    Ok(if let Some(Value::Long(long)) = value { long } else { 0 })
}

/// `[:test/inc e a]`
fn increment(db: &Db, args: &[Edn], _: Instant) -> Result<Edn> {
    let value = Edn::Long(long(db, &args[0], &args[1])? + 1);
    Ok(vector([call("db/add", [args[0].clone(), args[1].clone(), value])]))
}

/// `[:test/withdraw e other a n]`: the two together keep at least nothing.
fn withdraw(db: &Db, args: &[Edn], _: Instant) -> Result<Edn> {
    let [e, other, a, Edn::Long(n)] = args else { return Err(Error::incorrect("test/arguments", "e other a n")) };
    let (mine, others) = (long(db, e, a)?, long(db, other, a)?);
    if mine + others - n < 0 {
        return Err(Error::conflict("test/overdrawn", format!("{mine} and {others} do not cover {n}")));
    }
    Ok(vector([call("db/add", [e.clone(), a.clone(), Edn::Long(mine - n)])]))
}

/// `[:test/make a v]`: a new entity by a tempid of the function's own.
fn make(_: &Db, args: &[Edn], _: Instant) -> Result<Edn> {
    Ok(vector([call("db/add", [Edn::string("x"), args[0].clone(), args[1].clone()])]))
}

/// `[:test/stamp e a]`: the transaction's instant.
fn stamp(_: &Db, args: &[Edn], instant: Instant) -> Result<Edn> {
    Ok(vector([call("db/add", [args[0].clone(), args[1].clone(), Edn::Inst(instant)])]))
}

/// `[:test/set-instant instant]`
fn set_instant(_: &Db, args: &[Edn], _: Instant) -> Result<Edn> {
    let tx = Edn::string("datomic.tx");
    Ok(vector([call("db/add", [tx, Edn::keyword("db/txInstant"), args[0].clone()])]))
}
