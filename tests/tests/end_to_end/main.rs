//! What Picket promises, tried from outside: the real programs on loopback, in directories that go away.

#![cfg(test)]

mod approvals;
mod bad_input;
mod batches;
mod certificates;
mod checkpoints;
mod commands;
mod content;
mod copies;
mod effects;
mod enrolment;
mod evaluation;
mod fleet;
mod holes;
mod hostile;
mod many_hosts;
mod outage;
mod path;
mod query;
mod removal;
mod replay;
mod routes;
mod stolen_collector;
mod views;
mod watch;

mod operator;
mod prey;
mod rogue;
