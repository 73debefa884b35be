//! From a signal to an orderly end.
//!
//! The first SIGTERM or SIGINT cancels a token that everything watches; the second ends the process at once. As the first
//! process of a container the mover also inherits orphans, and buries them.

use std::future::Future;
use std::io;
use std::time::Duration;

use rustix::process::{WaitId, WaitIdOptions, WaitOptions, getpid, waitid, waitpid};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::exit::ExitCode;

/// How long an orderly end may take; Kubernetes gives 30 s before it kills.
pub const GRACE: Duration = Duration::from_secs(5);

/// How long a dead child is left to whoever started it before it counts as an orphan.
const MOURNING: Duration = Duration::from_secs(1);

/// Watches the signals of this process from now on; the token is cancelled by the first one.
///
/// Must be called within a tokio runtime. As process 1 it also reaps children.
pub fn on_signals() -> io::Result<CancellationToken> {
    let token = CancellationToken::new();
    let terminate = signal(SignalKind::terminate())?;
    let interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(watch(terminate, interrupt, token.clone()));
    if getpid().is_init() {
        tokio::spawn(reap(signal(SignalKind::child())?));
    }
    Ok(token)
}

/// Runs `future` to its end, or, once `token` is cancelled, for `grace` more; `None` if that was not enough.
pub async fn run_until<F: Future>(token: &CancellationToken, future: F, grace: Duration) -> Option<F::Output> {
    tokio::pin!(future);
    tokio::select! {
        biased;
        output = &mut future => Some(output),
        () = token.cancelled() => timeout(grace, future).await.ok(),
    }
}

async fn watch(mut terminate: Signal, mut interrupt: Signal, token: CancellationToken) {
    either(&mut terminate, &mut interrupt).await;
    tracing::warn!("signal received; ending in order, a second signal ends at once");
    token.cancel();
    either(&mut terminate, &mut interrupt).await;
    std::process::exit(ExitCode::Terminated as i32);
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Buries orphans. A dead child is first only looked at: one that this process started itself (a credential process, say)
/// is taken by its owner meanwhile.
async fn reap(mut child: Signal) {
    while child.recv().await.is_some() {
        while a_child_is_dead() {
            sleep(MOURNING).await;
            bury_all();
        }
    }
}

fn a_child_is_dead() -> bool {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    matches!(waitid(WaitId::All, look), Ok(Some(_)))
}

fn bury_all() {
    while let Ok(Some(_)) = waitpid(None, WaitOptions::NOHANG) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};

    #[tokio::test]
    async fn work_ends_by_itself_or_after_the_grace() {
        let token = CancellationToken::new();
        assert_eq!(run_until(&token, ready(1), GRACE).await, Some(1));
        token.cancel();
        assert_eq!(run_until(&token, ready(2), Duration::ZERO).await, Some(2));
        assert_eq!(run_until(&token, pending::<()>(), Duration::from_millis(1)).await, None);
    }

    #[tokio::test]
    async fn cleaning_up_within_the_grace_counts_as_done() {
        let token = CancellationToken::new();
        let worker = async {
            token.cancelled().await;
            tokio::task::yield_now().await;
            "aborted cleanly"
        };
        let (output, ()) = tokio::join!(run_until(&token, worker, GRACE), async { token.cancel() });
        assert_eq!(output, Some("aborted cleanly"));
    }

    #[tokio::test]
    async fn the_first_signal_cancels() {
        let token = on_signals().expect("signals are watched");
        assert!(!token.is_cancelled());
        rustix::process::kill_process(getpid(), rustix::process::Signal::TERM).expect("a signal to ourselves");
        timeout(Duration::from_secs(10), token.cancelled()).await.expect("the token is cancelled");
    }
}
