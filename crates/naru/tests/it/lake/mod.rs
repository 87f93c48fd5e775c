//! `naru lake` as a process, between a stand-in broker and programs that others wrote.

mod changes;
mod clients;
mod crashes;
mod outside;
mod process;
mod thread;
