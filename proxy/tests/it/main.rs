//! The proxy from outside: its connections over real sockets, the real binary against a scripted writer.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod access;
mod accountant;
mod author;
mod balancers;
mod budgets;
mod clicks;

mod client;
mod client_address;
mod clients;
mod connection;
mod disk;
mod feed;
mod floods;
mod following;
mod http2;
mod http2_frames;
mod limits;
mod lookups;
mod namespaces;
mod outage;
mod process;
mod real_time;
mod room;
mod serving;
mod site;
mod system_calls;
mod tls;
mod tls_visitor;
