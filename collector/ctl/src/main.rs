//! `picketctl`: Picket for people.
//!
//! One verb is one module. The operator's private keys stay in this process; evidence is checked here and not
//! believed; what hosts say is data, escaped before it reaches a terminal.

#![forbid(unsafe_code)]

mod aim;
mod approve;
mod audit;
mod campaign;
mod cli;
mod client;
mod commands;
mod contain;
mod content;
mod document;
mod dry;
mod events;
mod evidence;
mod failure;
mod fetch;
mod folder;
mod hosts;
mod keyfile;
mod ledger;
mod operator;
mod order;
mod output;
mod passphrase;
mod query;
mod receipt;
mod sentence;
mod session;
mod sheet;
mod stack;
mod table;
mod target;
mod token;
mod tree;
mod trust;
mod unread;
mod usage;
mod verify;
mod when;

use std::process::ExitCode;

use clap::CommandFactory;
use cli::{Cli, OperatorVerb, Verb};
use failure::{Exit, Failure};
use operator::Operator;

fn main() -> ExitCode {
    match usage::parse().and_then(|cli| cli.map_or(Ok(()), start)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn start(cli: Cli) -> Result<(), Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Failure::new(Exit::Failed, source))?
        .block_on(run(cli))
}

async fn run(cli: Cli) -> Result<(), Failure> {
    if let Verb::Operator(verb) = cli.verb {
        return match verb {
            OperatorVerb::Init(args) => operator::init(&args),
            OperatorVerb::Finish(args) => Box::pin(operator::finish(&args)).await,
        };
    }
    if let Verb::Verify(args) = &cli.verb
        && let Some(bundle) = &args.bundle
    {
        return verify::offline(bundle, args);
    }
    if let Verb::Pages(args) = &cli.verb {
        return picket_pages::write(Cli::command(), &args.out)
            .map_err(|source| Failure::new(Exit::Failed, source));
    }
    let operator = Operator::open(cli.operator.as_deref())?;
    Box::pin(as_operator(&operator, cli.verb)).await
}

async fn as_operator(operator: &Operator, verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::Operator(_) | Verb::Pages(_) => Ok(()),
        Verb::Token(verb) => token::run(operator, verb).await,
        Verb::Hosts(format) => hosts::list(operator, format).await,
        Verb::Host(verb) => hosts::run(operator, verb).await,
        Verb::Events(args) => events::search(operator, args).await,
        Verb::Tail(args) => events::tail(operator, args).await,
        Verb::Tree(args) => tree::run(operator, args).await,
        Verb::Query(args) => query::run(operator, args).await,
        Verb::Stack(args) => stack::run(operator, args).await,
        Verb::Verify(args) => verify::run(operator, args).await,
        Verb::Contain(args) => contain::run(operator, args).await,
        Verb::Commands(args) => commands::list(operator, args).await,
        Verb::Command(verb) => commands::run(operator, verb).await,
        Verb::Approve(args) => approve::approve(operator, args).await,
        Verb::Deny(args) => approve::deny(operator, args).await,
        Verb::Trust(verb) => trust::run(operator, verb).await,
        Verb::Content(verb) => content::run(operator, verb).await,
        Verb::Audit(args) => audit::run(operator, args).await,
    }
}
