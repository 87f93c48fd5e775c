//! One request that some broker can answer: finding the broker, asking again within bounds, reading the answer.
//!
//! Answers are read by plain closures, not asynchronous ones: a future that holds those cannot be sent to a task.

use std::fmt;

use kafka_protocol::protocol::{Request, StrBytes};

use super::{Asked, Broker, CallOptions, Client, ClientError, Connection, Lane, Outcome};
use crate::wire::{ApiKey, ErrorCode};

/// The broker that a request is for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Target<'a> {
    /// The controller, or the broker that stands in for it.
    Controller,
    /// A group's coordinator.
    Coordinator(&'a str),
    /// A broker.
    Broker(&'a Broker),
}

/// When a request may be sent a second time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Twice is as good as once.
    Freely,
    /// Only if it was not done.
    IfNotDone,
}

/// Who answered what: for errors about the answer.
pub(super) struct Said<'a> {
    pub(super) connection: &'a Connection,
    pub(super) asked: Asked,
}

impl Said<'_> {
    /// The same, about something narrower.
    pub(super) fn about(&self, what: impl fmt::Display) -> Said<'_> {
        let asked = Asked { about: what.to_string().into(), ..self.asked.clone() };
        Said { connection: self.connection, asked }
    }

    /// An error unless the code is none.
    pub(super) fn check(&self, code: i16, message: Option<&StrBytes>) -> Result<(), ClientError> {
        match ErrorCode(code) {
            ErrorCode::NONE => Ok(()),
            code => Err(self.connection.answered_error(self.asked.clone(), code, message)),
        }
    }

    /// The error of an answer without what was asked for.
    pub(super) fn lacks(&self, missing: &'static str) -> ClientError {
        self.connection.incomplete(self.asked.clone(), missing)
    }
}

async fn once<R: Request, T>(
    connection: Result<Connection, ClientError>,
    request: &R,
    options: &CallOptions,
    read: &impl Fn(&Said<'_>, R::Response) -> Result<T, ClientError>,
) -> Result<T, ClientError> {
    let connection = connection.map_err(|error| error.not_sent(|| options.asked(R::KEY)))?;
    let answer = connection.call_with(request, options).await?;
    read(&Said { connection: &connection, asked: options.asked(R::KEY) }, answer)
}

impl Client {
    /// Asks one broker after the other until one answers, within the bound on attempts.
    pub(super) async fn ask_any<R: Request, T>(
        &self,
        request: &R,
        options: &CallOptions,
        read: impl Fn(&Said<'_>, R::Response) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let mut retry = self.retry();
        loop {
            let Some(broker) = self.shared.metadata.next_broker(&self.shared.config.bootstrap) else {
                return Err(ClientError::NoBroker { asked: options.asked(R::KEY), attempts: retry.failures });
            };
            let connection = self.connection(&broker, Lane::Control).await;
            match once(connection, request, options, &read).await {
                Ok(value) => return Ok(value),
                Err(error) => {
                    self.shared.metadata.turn_on();
                    retry.wait(error).await?;
                }
            }
        }
    }

    /// Asks the broker that a request is for, looked up anew after each retriable error, within the bound on attempts.
    pub(super) async fn ask<R: Request, T>(
        &self,
        target: Target<'_>,
        repeat: Repeat,
        request: &R,
        options: &CallOptions,
        read: impl Fn(&Said<'_>, R::Response) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let mut retry = self.retry();
        loop {
            let connection = self.connection_to(target).await;
            let error = match once(connection, request, options, &read).await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            if let Target::Coordinator(group) = target
                && error.retry_can_help()
            {
                // It may have moved.
                self.forget_coordinator(group);
            }
            if repeat == Repeat::IfNotDone && error.outcome() == Outcome::Unknown {
                return Err(error);
            }
            retry.wait(error).await?;
        }
    }

    async fn connection_to(&self, target: Target<'_>) -> Result<Connection, ClientError> {
        match target {
            Target::Broker(broker) => self.connection(broker, Lane::Control).await,
            Target::Coordinator(group) => {
                let broker = self.coordinator(group).await?;
                self.connection(&broker, Lane::Group).await
            }
            Target::Controller => {
                let metadata = self.metadata(Some(&[])).await?;
                let controller = metadata.brokers.iter().find(|broker| broker.node_id == metadata.controller);
                let broker = controller.or(metadata.brokers.first()).ok_or_else(|| ClientError::NoBroker {
                    asked: Asked::about(ApiKey::Metadata, "the controller"),
                    attempts: 1,
                })?;
                self.connection(broker, Lane::Control).await
            }
        }
    }
}
