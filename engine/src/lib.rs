//! The PyO3 boundary, all of it: a plan and ready bytes in, counts and histograms out.

pub mod alarm;
pub mod check;
pub mod drive;
pub mod error;
pub mod extra;
pub mod grpc;
pub mod histogram;
pub mod http;
pub mod http2;
pub mod inflate;
pub mod kserve;
pub mod null;
pub mod payload;
pub mod plan;
pub mod random;
pub mod reactor;
pub mod recorder;
pub mod requests;
pub mod run;
pub mod schedule;
pub mod scheduling;
pub mod sequences;
pub mod spread;
pub mod tls;
pub mod transport;
pub mod wire;

use error::Code;
use pyo3::create_exception;
use pyo3::exceptions::{PyException, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBool, PyBytes};
use std::collections::BTreeMap;
use std::sync::Arc;

create_exception!(runner._engine, EngineError, PyException);
create_exception!(runner._engine, PlanError, EngineError);
create_exception!(runner._engine, ConnectError, EngineError);

impl From<error::Error> for PyErr {
    fn from(error: error::Error) -> PyErr {
        let message = error.to_string();
        match error {
            error::Error::Plan { .. } => PlanError::new_err(message),
            error::Error::Connect { .. } => ConnectError::new_err(message),
            error::Error::System { .. } => EngineError::new_err(message),
        }
    }
}

#[pyclass(frozen, module = "runner._engine")]
struct PayloadPool(Arc<payload::Pool>);

#[pymethods]
impl PayloadPool {
    #[new]
    fn new(payloads: Vec<PyBackedBytes>) -> PayloadPool {
        PayloadPool(Arc::new(payload::Pool::new(payloads)))
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }

    #[getter]
    fn nbytes(&self) -> u64 {
        self.0.nbytes()
    }
}

fn named<T: Clone>(by_code: &BTreeMap<Code, T>) -> BTreeMap<String, T> {
    by_code.iter().map(|(code, value)| (code.to_string(), value.clone())).collect()
}

/// Getters of what is not in every slice.
macro_rules! extras {
    ({ $($count:ident),* } { $($histogram:ident),* }) => {
        fn extra_counts(extra: &extra::Extra) -> BTreeMap<&'static str, u64> {
            BTreeMap::from([$((stringify!($count), extra.$count)),*])
        }

        fn extra_histograms(extra: &extra::Extra) -> BTreeMap<&'static str, &Vec<histogram::Pair>> {
            BTreeMap::from([$((stringify!($histogram), &extra.$histogram)),*])
        }
    };
}

extras!({
    sequences, sequences_failed, closing, responses, queue_ns, write_ns, wait_ns, read_ns
} {
    sequence_latency, first_response, inter_response, last_response, responses_per_request
});

#[pyclass(frozen, module = "runner._engine")]
struct Slice(recorder::Slice);

/// One-line getters; PyO3 needs each of them written down.
macro_rules! counts {
    ($class:ident { $($field:ident),* $(,)? } $($rest:tt)*) => {
        #[pymethods]
        impl $class {
            $(#[getter] fn $field(&self) -> u64 { self.0.$field })*
            $($rest)*
        }
    };
}

counts!(Slice {
    start_ns, end_ns, sent, ok, items, dropped, in_flight, in_flight_ns, latency_sum_ns, latency_max_ns, bytes_sent,
    bytes_received, cpu_ns, stall_max_ns,
}
    #[getter]
    fn failed(&self) -> BTreeMap<String, u64> {
        named(&self.0.failed)
    }

    #[getter]
    fn extra_counts(&self) -> BTreeMap<&'static str, u64> {
        extra_counts(&self.0.extra)
    }

    #[getter]
    fn extra_histograms<'py>(&self, py: Python<'py>) -> BTreeMap<&'static str, Bound<'py, PyBytes>> {
        let used = extra_histograms(&self.0.extra).into_iter().filter(|(_, pairs)| !pairs.is_empty());
        used.map(|(name, pairs)| (name, PyBytes::new(py, &histogram::pack(pairs)))).collect()
    }

    #[getter]
    fn records<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.extra.records)
    }

    #[getter]
    fn latency<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &histogram::pack(&self.0.latency))
    }

    #[getter]
    fn service<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &histogram::pack(&self.0.service))
    }

    #[getter]
    fn send_lag<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &histogram::pack(&self.0.send_lag))
    }
);

fn slices(py: Python<'_>, slices: Vec<recorder::Slice>) -> PyResult<Vec<Py<Slice>>> {
    slices.into_iter().map(|slice| Py::new(py, Slice(slice))).collect()
}

#[pyclass(frozen, get_all, module = "runner._engine")]
struct Tick {
    elapsed_ns: u64,
    slices: Vec<Py<Slice>>,
    sent: u64,
    ok: u64,
    failed: u64,
    in_flight: u64,
}

#[pyclass(frozen, get_all, module = "runner._engine")]
struct LoadResult {
    started_unix_ns: u64,
    elapsed_ns: u64,
    slices: Vec<Py<Slice>>,
    stopped_ns: u64,
    sent: u64,
    ok: u64,
    failed: BTreeMap<String, u64>,
    dropped: u64,
    unfinished: u64,
    examples: BTreeMap<String, String>,
    reconnects: u64,
    workers: usize,
}

/// A number that is not True or False is the concurrency from now on.
fn wish(answer: Bound<'_, PyAny>) -> PyResult<run::Wish> {
    if answer.is_none() || answer.is_instance_of::<PyBool>() {
        return Ok(if answer.is_truthy()? { run::Wish::Stop } else { run::Wish::GoOn });
    }
    Ok(run::Wish::Concurrency(answer.extract()?))
}

struct PyWatcher(Option<Py<PyAny>>);

impl run::Watcher for PyWatcher {
    type Error = PyErr;

    fn wants_ticks(&self) -> bool {
        self.0.is_some()
    }

    fn tick(&mut self, tick: run::Tick) -> PyResult<run::Wish> {
        let Some(on_tick) = &self.0 else { return Ok(run::Wish::GoOn) };
        Python::attach(|py| {
            let run::Tick { elapsed_ns, slices: closed, sent, ok, failed, in_flight } = tick;
            let tick = Tick { elapsed_ns, slices: slices(py, closed)?, sent, ok, failed, in_flight };
            wish(on_tick.bind(py).call1((tick,))?)
        })
    }

    fn interrupted(&mut self) -> PyResult<()> {
        Python::attach(|py| py.check_signals())
    }
}

#[pyfunction]
#[pyo3(name = "run", signature = (plan, payloads, on_tick=None, expected=None))]
fn run_plan(
    py: Python<'_>,
    plan: &str,
    payloads: &PayloadPool,
    on_tick: Option<Py<PyAny>>,
    expected: Option<&PayloadPool>,
) -> PyResult<LoadResult> {
    let plan = plan::Plan::from_json(plan)?;
    let pool = payloads.0.clone();
    let expected = expected.map(|expected| expected.0.clone());
    let result = py.detach(|| run::run_checked(&plan, pool, expected, &mut PyWatcher(on_tick)))?;
    Ok(LoadResult {
        started_unix_ns: result.started_unix_ns,
        elapsed_ns: result.elapsed_ns,
        slices: slices(py, result.slices)?,
        stopped_ns: result.stopped_ns,
        sent: result.sent,
        ok: result.ok,
        failed: named(&result.failed),
        dropped: result.dropped,
        unfinished: result.unfinished,
        examples: named(&result.examples),
        reconnects: result.reconnects,
        workers: result.workers,
    })
}

#[pyfunction]
fn bucket_bounds(index: usize) -> PyResult<(u64, u64)> {
    if index < histogram::BUCKETS {
        return Ok(histogram::bucket_bounds(index));
    }
    Err(PyValueError::new_err(format!("bucket index must be in 0..{}, got {index}", histogram::BUCKETS)))
}

#[pyfunction]
fn statuses() -> BTreeMap<u16, String> {
    extra::statuses()
}

#[pyfunction]
fn bucket_index(value_ns: u64) -> usize {
    histogram::bucket_index(value_ns)
}

#[pymodule]
fn _engine(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("EngineError", py.get_type::<EngineError>())?;
    module.add("PlanError", py.get_type::<PlanError>())?;
    module.add("ConnectError", py.get_type::<ConnectError>())?;
    module.add_class::<PayloadPool>()?;
    module.add_class::<Slice>()?;
    module.add_class::<Tick>()?;
    module.add_class::<LoadResult>()?;
    module.add_function(wrap_pyfunction!(run_plan, module)?)?;
    module.add_function(wrap_pyfunction!(bucket_bounds, module)?)?;
    module.add_function(wrap_pyfunction!(statuses, module)?)?;
    module.add_function(wrap_pyfunction!(bucket_index, module)?)
}
