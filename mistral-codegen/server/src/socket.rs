//! A connection's bytes, watched: who takes none for too long is cut off, and who was cut off in the
//! middle of a request's head can be told.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

/// What a client that was too slow with its head is told; the connection ends with it.
const LATE: &str = concat!(
    "HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\nconnection: close\r\n",
    "content-length: 133\r\n\r\n",
    r#"{"error":{"message":"the request's head did not arrive in time","#,
    r#""type":"invalid_request_error","param":null,"code":"header_timeout"}}"#,
);

/// A socket whose writes have a time limit.
#[derive(Debug)]
pub struct Socket {
    stream: Arc<TcpStream>,
    /// Whether bytes came since the last answer.
    asked: Arc<AtomicBool>,
    write_time: Duration,
    /// When a client that takes nothing is cut off; none while it does.
    patience: Option<Pin<Box<Sleep>>>,
}

/// What remains to be said on a socket.
#[derive(Debug)]
pub struct Remainder {
    stream: Arc<TcpStream>,
    asked: Arc<AtomicBool>,
}

impl Socket {
    /// Watches a connection.
    #[must_use]
    pub fn new(stream: TcpStream, write_time: Duration) -> Self {
        // Tokens are small and each is waited for. A socket that refuses works all the same.
        let _ = stream.set_nodelay(true);
        Self {
            stream: Arc::new(stream),
            asked: Arc::default(),
            write_time,
            patience: None,
        }
    }

    /// A hold on the connection for when it has failed.
    #[must_use]
    pub fn remainder(&self) -> Remainder {
        Remainder {
            stream: Arc::clone(&self.stream),
            asked: Arc::clone(&self.asked),
        }
    }

    /// Whether the client has taken nothing for too long.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let end = Instant::now() + self.write_time;
        let patience = self
            .patience
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end)));
        ready!(patience.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl Remainder {
    /// Tells a client that began a request and didn't end its head. One that sent nothing is only
    /// left.
    pub fn late(&self) {
        if self.asked.load(Ordering::Relaxed) {
            // The buffer of a socket that hasn't been answered yet has room for it.
            let _ = self.stream.try_write(LATE.as_bytes());
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.stream.poll_read_ready(cx))?;
            match self.stream.try_read(buffer.initialize_unfilled()) {
                Ok(count) => {
                    buffer.advance(count);
                    self.asked.fetch_or(count > 0, Ordering::Relaxed);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            match self.stream.poll_write_ready(cx) {
                Poll::Ready(result) => result?,
                Poll::Pending => {
                    ready!(self.poll_patience(cx))?;
                    return Poll::Pending;
                }
            }
            match self.stream.try_write(bytes) {
                Ok(count) => {
                    self.asked.store(false, Ordering::Relaxed);
                    self.patience = None;
                    return Poll::Ready(Ok(count));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
