//! The listening end of a scripted peer.

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Everything ends when it is dropped.
pub struct Listening {
    pub address: SocketAddr,
    sockets: Arc<Mutex<Vec<TcpStream>>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Listening {
    /// `accept` is given each connection in turn; what it returns serves that one, in a thread of its own.
    pub fn start<Serve: FnOnce() + Send + 'static>(
        address: impl ToSocketAddrs,
        accept: impl Fn(TcpStream) -> Serve + Send + 'static,
    ) -> Listening {
        let listener = listen(address);
        let address = listener.local_addr().unwrap();
        let (sockets, over) = (Arc::<Mutex<Vec<TcpStream>>>::default(), Arc::<AtomicBool>::default());
        let accepting = {
            let (sockets, over) = (sockets.clone(), over.clone());
            move || {
                for socket in listener.incoming() {
                    if over.load(Ordering::SeqCst) {
                        return;
                    }
                    let socket = socket.unwrap();
                    socket.set_nodelay(true).unwrap();
                    sockets.lock().unwrap().push(socket.try_clone().unwrap());
                    let end = socket.try_clone().unwrap();
                    let serve = accept(socket);
                    thread::spawn(move || {
                        serve();
                        let _ = end.shutdown(Shutdown::Both);
                    });
                }
            }
        };
        Listening { address, sockets, over, thread: Some(thread::spawn(accepting)) }
    }
}

/// A port that was just in use may take a moment.
fn listen(address: impl ToSocketAddrs) -> TcpListener {
    for _ in 0..200 {
        if let Ok(listener) = TcpListener::bind(&address) {
            return listener;
        }
        thread::sleep(Duration::from_millis(10));
    }
    TcpListener::bind(address).unwrap()
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
        for socket in self.sockets.lock().unwrap().drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}
