//! The store on a real PostgreSQL. Writes are done twice, and the second time must change nothing.

mod store {
    mod migrate;
    mod pool;
}
