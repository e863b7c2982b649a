//! The wire contract and its conversions to and from the types of db.
