//! Time as the simulated machines see it: real, faster or slower, or jumping from wait to wait.
//!
//! Everything that waits inside the simulator waits here. On a virtual clock time moves only when nobody has
//! anything left to do but wait, so an import of ten minutes takes as long as its bookkeeping.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// When a virtual clock moves by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Whenever everything in the simulator waits.
    Auto,
    /// Only while a request is waiting for its answer; tasks in the background stand still between requests.
    OnRequest,
    /// Never; only [`Clock::advance`] moves it.
    Manual,
}

/// A clock, cheap to clone; all clones show the same time.
#[derive(Debug, Clone)]
pub struct Clock {
    kind: Arc<Kind>,
}

#[derive(Debug)]
enum Kind {
    Real { origin: Instant, epoch: Duration, speed: f64 },
    Virtual { pace: Pace, state: Mutex<Virtual> },
}

#[derive(Debug)]
struct Virtual {
    now: Duration,
    busy: usize,
    requests: usize,
    next: u64,
    sleepers: BTreeMap<(Duration, u64), Option<Waker>>,
    idle: Vec<Waker>,
    target: Option<Duration>,
}

impl Clock {
    /// The machine's own time.
    pub fn real() -> Self {
        Self::scaled(1.0)
    }

    /// Runs `speed` times as fast as real time; below 1 it is slow.
    pub fn scaled(speed: f64) -> Self {
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::starting(epoch, speed)
    }

    fn starting(epoch: Duration, speed: f64) -> Self {
        Self { kind: Arc::new(Kind::Real { origin: Instant::now(), epoch, speed }) }
    }

    /// A clock that jumps.
    pub fn virtual_at(pace: Pace, epoch: Duration) -> Self {
        let state = Virtual {
            now: epoch,
            busy: 0,
            requests: 0,
            next: 0,
            sleepers: BTreeMap::new(),
            idle: Vec::new(),
            target: None,
        };
        Self { kind: Arc::new(Kind::Virtual { pace, state: Mutex::new(state) }) }
    }

    /// A clock that jumps, starting at the present.
    pub fn virtual_now(pace: Pace) -> Self {
        Self::virtual_at(pace, SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
    }

    /// Time since 1970.
    pub fn now(&self) -> Duration {
        match &*self.kind {
            Kind::Real { origin, epoch, speed } => *epoch + origin.elapsed().mul_f64(*speed),
            Kind::Virtual { state, .. } => lock(state).now,
        }
    }

    /// Whole seconds since 1970.
    pub fn seconds(&self) -> u64 {
        self.now().as_secs()
    }

    /// Marks the caller as having something to do; a virtual clock stands while any such mark is held.
    pub(crate) fn busy(&self) -> Busy {
        if let Kind::Virtual { state, .. } = &*self.kind {
            lock(state).busy += 1;
        }
        Busy { clock: self.clone() }
    }

    /// Counts the caller's [`Busy`] mark as let go, for waits on something outside the simulator that may take long.
    pub(crate) fn away(&self) -> Away {
        if let Kind::Virtual { state, .. } = &*self.kind {
            let mut state = lock(state);
            state.busy = state.busy.saturating_sub(1);
            self.settle(&mut state);
        }
        Away { clock: self.clone() }
    }

    /// Marks that a request waits for its answer.
    pub(crate) fn request(&self) -> RequestMark {
        if let Kind::Virtual { state, .. } = &*self.kind {
            lock(state).requests += 1;
        }
        RequestMark { clock: self.clone() }
    }

    /// Waits; the caller must hold a [`Busy`] mark, which counts as let go meanwhile.
    pub(crate) async fn sleep(&self, time: Duration) {
        match &*self.kind {
            Kind::Real { speed, .. } => tokio::time::sleep(time.div_f64(*speed)).await,
            Kind::Virtual { .. } => {
                Sleep { clock: self.clone(), time: Some(time), key: None, done: false }.await;
            }
        }
    }

    /// Runs `future` for at most `time`. The future must not wait on this clock in the same task (spawn it).
    pub(crate) async fn timeout<F: Future>(&self, time: Duration, future: F) -> Option<F::Output> {
        tokio::select! {
            biased;
            output = future => Some(output),
            () = self.sleep(time) => None,
        }
    }

    /// Moves a virtual clock by `time`, letting everything that falls into it happen; waits on other clocks.
    pub async fn advance(&self, time: Duration) {
        match &*self.kind {
            Kind::Real { speed, .. } => tokio::time::sleep(time.div_f64(*speed)).await,
            Kind::Virtual { state, .. } => {
                let end = {
                    let mut state = lock(state);
                    let end = state.now + time;
                    state.target = Some(end);
                    self.settle(&mut state);
                    end
                };
                Reach { clock: self.clone(), end }.await;
            }
        }
    }

    fn settle(&self, state: &mut Virtual) {
        let Kind::Virtual { pace, .. } = &*self.kind else { return };
        while state.busy == 0 {
            let next = state.sleepers.first_key_value().map(|(key, _)| *key);
            let free = match pace {
                Pace::Auto => true,
                Pace::OnRequest => state.requests > 0,
                Pace::Manual => false,
            };
            match (next, state.target) {
                (Some(key), target) if free || target.is_some_and(|end| key.0 <= end) => {
                    state.now = state.now.max(key.0);
                    state.busy += 1;
                    if let Some(Some(waker)) = state.sleepers.remove(&key) {
                        waker.wake();
                    }
                }
                (_, Some(end)) => {
                    state.now = state.now.max(end);
                    state.target = None;
                    for waker in state.idle.drain(..) {
                        waker.wake();
                    }
                }
                _ => return,
            }
        }
    }
}

fn lock(state: &Mutex<Virtual>) -> MutexGuard<'_, Virtual> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Held while there is something to do.
#[derive(Debug)]
pub(crate) struct Busy {
    clock: Clock,
}

impl Drop for Busy {
    fn drop(&mut self) {
        if let Kind::Virtual { state, .. } = &*self.clock.kind {
            let mut state = lock(state);
            state.busy -= 1;
            self.clock.settle(&mut state);
        }
    }
}

/// Held while the caller waits for something outside.
#[derive(Debug)]
pub(crate) struct Away {
    clock: Clock,
}

impl Drop for Away {
    fn drop(&mut self) {
        if let Kind::Virtual { state, .. } = &*self.clock.kind {
            lock(state).busy += 1;
        }
    }
}

/// Held while a request waits for its answer.
#[derive(Debug)]
pub(crate) struct RequestMark {
    clock: Clock,
}

impl Drop for RequestMark {
    fn drop(&mut self) {
        if let Kind::Virtual { state, .. } = &*self.clock.kind {
            lock(state).requests -= 1;
        }
    }
}

struct Sleep {
    clock: Clock,
    time: Option<Duration>,
    key: Option<(Duration, u64)>,
    done: bool,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let clock = self.clock.clone();
        let Kind::Virtual { state, .. } = &*clock.kind else { return Poll::Ready(()) };
        let mut state = lock(state);
        if let Some(time) = self.time.take() {
            let key = (state.now + time, state.next);
            state.next += 1;
            state.sleepers.insert(key, Some(cx.waker().clone()));
            self.key = Some(key);
            state.busy = state.busy.saturating_sub(1);
            clock.settle(&mut state);
        }
        let Some(key) = self.key else { return Poll::Ready(()) };
        if let Some(waker) = state.sleepers.get_mut(&key) {
            *waker = Some(cx.waker().clone());
            Poll::Pending
        } else {
            self.done = true;
            Poll::Ready(())
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let Kind::Virtual { state, .. } = &*self.clock.kind else { return };
        if self.done {
            return;
        }
        if let Some(key) = self.key {
            let mut state = lock(state);
            if state.sleepers.remove(&key).is_some() {
                state.busy += 1;
            }
        }
    }
}

struct Reach {
    clock: Clock,
    end: Duration,
}

impl Future for Reach {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Kind::Virtual { state, .. } = &*self.clock.kind else { return Poll::Ready(()) };
        let mut state = lock(state);
        if state.now >= self.end && state.target.is_none() {
            return Poll::Ready(());
        }
        state.idle.push(cx.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_auto_clock_jumps_over_waits() {
        let clock = Clock::virtual_at(Pace::Auto, Duration::ZERO);
        let _busy = clock.busy();
        clock.sleep(Duration::from_secs(600)).await;
        assert_eq!(clock.seconds(), 600);
    }

    #[tokio::test]
    async fn background_work_stands_still_between_requests() {
        let clock = Clock::virtual_at(Pace::OnRequest, Duration::ZERO);
        let background = clock.clone();
        let busy = clock.busy();
        let task = tokio::spawn(async move {
            let _busy = busy;
            background.sleep(Duration::from_secs(5)).await;
            background.seconds()
        });
        tokio::task::yield_now().await;
        assert_eq!(clock.seconds(), 0);
        clock.advance(Duration::from_secs(7)).await;
        assert_eq!(task.await.ok(), Some(5));
        assert_eq!(clock.seconds(), 7);
    }

    #[tokio::test]
    async fn a_timeout_ends_the_wait_of_the_loser() {
        let clock = Clock::virtual_at(Pace::Auto, Duration::ZERO);
        let _busy = clock.busy();
        let (other, mark) = (clock.clone(), clock.busy());
        let slow = tokio::spawn(async move {
            other.sleep(Duration::from_secs(60)).await;
            drop(mark);
        });
        assert!(clock.timeout(Duration::from_secs(30), slow).await.is_none());
        assert_eq!(clock.seconds(), 30);
    }
}
