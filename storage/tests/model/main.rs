//! The journal as a model: two writers, one database, one store, a network that loses and delays, and a collector.

mod backends;
mod drive;
mod exhaustive;
mod rules;
mod walk;
mod world;
