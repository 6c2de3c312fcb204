//! Names and TCP, by the system's resolver and plain sockets: whether something takes connections at `HOST:PORT`.
//!
//! The system's resolver knows no deadline, so it is asked on a thread that is left to itself when it takes too long. Not
//! here: what speaks at that port.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::trouble::Trouble;

/// The shortest time worth trying.
const TRY_MIN: Duration = Duration::from_millis(1);

/// Whether one address of `broker` (`HOST:PORT`) takes a connection.
///
/// # Errors
/// The name does not resolve, or no address takes a connection: with each address and why.
pub(super) fn reach(broker: &str, deadline: Instant) -> Result<(), Trouble> {
    let (host, port) = parts(broker)?;
    let addresses = resolve(host.clone(), port, deadline)?;
    let (sender, outcomes) = mpsc::channel();
    for address in addresses.iter().copied() {
        let sender = sender.clone();
        let time = left(deadline);
        std::thread::spawn(move || {
            // Nobody waits any more if another address took the connection.
            drop(sender.send((address, TcpStream::connect_timeout(&address, time).map(drop))));
        });
    }
    drop(sender);
    let mut failures = Vec::new();
    for (address, outcome) in outcomes {
        match outcome {
            Ok(()) => return Ok(()),
            Err(error) => failures.push((address, error)),
        }
    }
    failures.sort_by_key(|(address, _)| *address);
    Err(unreachable(&failures))
}

fn parts(broker: &str) -> Result<(String, u16), Trouble> {
    let split = broker.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let (host, port): (&str, u16) =
        split.ok_or_else(|| Trouble::new("is no HOST:PORT with a port up to 65535", "correct it in brokers"))?;
    Ok((host.trim_start_matches('[').trim_end_matches(']').to_owned(), port))
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(TRY_MIN)
}

fn resolve(host: String, port: u16, deadline: Instant) -> Result<Vec<SocketAddr>, Trouble> {
    let (sender, answer) = mpsc::channel();
    let name = host.clone();
    std::thread::spawn(move || {
        let found = (name.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
        // Nobody waits any more after the deadline.
        drop(sender.send(found));
    });
    let fix = "correct the name in brokers (or in the broker's advertised.listeners), or add it to DNS or /etc/hosts";
    match answer.recv_timeout(left(deadline)) {
        Ok(Ok(addresses)) if !addresses.is_empty() => Ok(addresses),
        Ok(Ok(_)) => Err(Trouble::new(format!("the name {host} has no address"), fix)),
        Ok(Err(error)) => {
            let error = error.to_string();
            let reason = error.rsplit_once("information: ").map_or(error.as_str(), |(_, reason)| reason);
            Err(Trouble::new(format!("the name {host} does not resolve: {reason}"), fix))
        }
        Err(_) => Err(Trouble::new(
            format!("no DNS server answers for the name {host}"),
            "see /etc/resolv.conf, and whether its servers can be reached",
        )),
    }
}

fn unreachable(failures: &[(SocketAddr, io::Error)]) -> Trouble {
    let each: Vec<String> = failures
        .iter()
        .map(|(address, error)| match error.kind() {
            io::ErrorKind::ConnectionRefused => format!("{address} refuses the connection"),
            io::ErrorKind::TimedOut => format!("{address} does not answer"),
            _ => format!("{address}: {error}"),
        })
        .collect();
    let has = |kind| failures.iter().any(|(_, error)| error.kind() == kind);
    let fix = if has(io::ErrorKind::ConnectionRefused) {
        "start the broker, or correct the port: nothing listens there"
    } else if has(io::ErrorKind::TimedOut) {
        "see whether the machine is up and whether a firewall or a network policy is in the way"
    } else {
        "see the routes of this machine and the rules of its network"
    };
    Trouble::new(format!("TCP: {}", each.join(", ")), fix)
}
