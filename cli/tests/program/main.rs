//! The program as people run it: a process with arguments, files and signals, judged by its exit code and what it prints.

mod harness;
mod process;
mod usage;
