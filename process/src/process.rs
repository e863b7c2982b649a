//! A process from its start to its end: what a transactor and a peer have in common.
//!
//! It begins with a crew and with sockets, so that an address that cannot be had is the first thing to be said. What
//! the process is for is then built upon the crew and the registry, and served until the process is asked to stop or
//! cannot go on.

use crate::limits::Limits;
use crate::metrics::{self, Registry};
use crate::supervisor::Group;
use crate::{
    Contract, Crew, Edge, Listener, Restarts, Result, Server, Shutdown, ShutdownTrigger, Supervisor, World, http,
};
use std::net::SocketAddr;
use tokio::net::TcpListener;

/// How a process is to be reached and kept going: of its settings, those that every process has.
pub struct Serving {
    pub listen: SocketAddr,
    pub restarts: Restarts,
    pub limits: Limits,
    pub metrics: metrics::Options,
}

/// A process that has begun.
pub struct Process {
    pub crew: Crew,
    /// What is registered before [`Process::serve`] is shown.
    pub registry: Registry,
    supervisor: Supervisor,
    world: World,
    listener: Listener,
    metrics_listener: Option<TcpListener>,
    edge: Edge,
    trigger: ShutdownTrigger,
    shutdown: Shutdown,
}

/// A process that was asked to stop and serves nobody any more. What its actors have in hand may be finished.
pub struct Stopping {
    crew: Crew,
    supervisor: Supervisor,
}

impl Process {
    /// Takes the sockets. The tree has [`http::METRICS_GROUP`] in it.
    pub async fn begin(
        tree: &'static Group,
        serving: Serving,
        contract: Contract,
        world: &World,
        trigger: ShutdownTrigger,
        shutdown: Shutdown,
    ) -> Result<Process> {
        let (crew, supervisor) = Crew::new(tree, serving.restarts, world, shutdown.clone());
        let listener = world.network.listen(serving.listen).await?;
        let metrics_listener = http::bind(&serving.metrics).await?;
        let mut registry = metrics::registry();
        let edge = Edge::new(contract, serving.limits, world.clock.clone(), &*world.entropy, &mut registry);
        let shown = crew.clone();
        metrics::readings(&mut registry, move |readings| shown.show(readings));
        Ok(Process {
            crew,
            registry,
            supervisor,
            world: world.clone(),
            listener,
            metrics_listener,
            edge,
            trigger,
            shutdown,
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.listener.address
    }

    /// What every call goes through, for the server that is to be served.
    pub fn edge(&self) -> Edge {
        self.edge.clone()
    }

    /// Serves, and shows metrics, until the process is asked to stop. An error is the supervisor's word that it cannot
    /// go on.
    pub async fn serve(self, server: Server) -> Result<Stopping> {
        let Process { crew, mut supervisor, listener, shutdown, .. } = self;
        if let Some(metrics_listener) = self.metrics_listener {
            http::start(&crew, metrics_listener, self.registry)?;
        }
        self.world.network.announce(listener.address);
        tokio::select! {
            biased;
            failure = supervisor.run() => {
                // Streams end at once; what waits for an answer is told that its outcome is unknown.
                self.trigger.ask();
                Err(failure)
            }
            served = server.serve(listener, shutdown) => served.map(|()| Stopping { crew, supervisor }),
        }
    }
}

impl Stopping {
    /// Returns when all stages have ended, and with them what they held: for a process whose stages finish what they
    /// were given, and end when they are told to.
    pub async fn stages_ended(&self) {
        self.crew.stages_ended().await;
    }

    /// Lets go of everything. An error if something failed on the way.
    pub fn end(mut self) -> Result<()> {
        self.supervisor.last_words()?;
        self.crew.dismiss();
        Ok(())
    }
}
