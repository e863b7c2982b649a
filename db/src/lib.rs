//! The database as a value: model, EDN, schema, indexes, transactions, Datalog and pull. Pure.
