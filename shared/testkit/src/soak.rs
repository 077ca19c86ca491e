//! The kill soak. Producers, workers, PostgreSQL and RabbitMQ run as processes of their own in a work folder.
//! Clients upload imports and change their states, a nemesis breaks things by a seed, and the oracle compares
//! the result with what must be.
//!
//! | Module | What it does |
//! |---|---|
//! | `servers` | the private PostgreSQL and RabbitMQ, and how they are broken |
//! | `program` | the processes of Muster |
//! | `relay` | the way of some of them to the servers, which can be made half open |
//! | `generate` | files with the manifest of their records |
//! | `model` | what a record must come to, over users that are kept in memory |
//! | `api`, `upload`, `clients`, `contended`, `unclash`, `undo` | the clients: they plan a part of their imports first, and undo some |
//! | `oracle`, `finale` | the comparison after each import, and at the end |
//! | `damage` | whether the comparison sees anything |
//! | `witness` | the database's own record of every change, written by triggers |
//! | `nemesis`, `recovery` | the faults, and how long it took until work went on |
//! | `report`, `journal` | what is told of a run |
//!
//! What it does not do: power cuts, partitions, and faults at a chosen line. Other tests do.

mod api;
mod clients;
mod contended;
mod copies;
mod damage;
mod db;
mod finale;
mod generate;
mod journal;
mod model;
mod nemesis;
mod noted;
mod options;
mod oracle;
mod phases;
mod program;
mod recovery;
mod relay;
mod report;
mod run;
mod servers;
mod sheets;
mod unclash;
mod upload;
mod watch;
mod witness;
mod world;

pub use options::Options;
pub use run::run;
