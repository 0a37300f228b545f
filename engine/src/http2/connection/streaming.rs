//! Messages whose content matters: responses of long-lived streams, and answers that are compared.

use super::{Connection, Event, Stream};
use crate::check::Checker;
use crate::error::{Code, Failure};
use crate::http2::Violation;
use crate::kserve::StreamAnswer;

impl Connection {
    /// Look at the messages that these bytes complete; only for streams with a collector.
    pub(super) fn look(&mut self, id: u32, bytes: &[u8], events: &mut Vec<Event>) -> Result<(), Violation> {
        let Some(stream) = self.streams.get_mut(&id) else { return Ok(()) };
        // Taken out so that what a message means may change the stream.
        let Some(mut collector) = stream.response.collector.take() else { return Ok(()) };
        let (token, payload) = (stream.token, stream.payload);
        let mut wrong = None;
        collector.feed(bytes, |message| {
            if self.manner.streaming {
                return self.hear(id, message, events);
            }
            if let Some(checker) = &self.manner.checker {
                wrong = checker.check(payload, 0, message).err();
            }
            Ok(())
        })?;
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.response.collector = Some(collector);
            if let Some(failure) = wrong {
                debug_assert_eq!(token, stream.token);
                stream.response.wrong.get_or_insert(Box::new(failure));
            }
        }
        Ok(())
    }

    /// One message of a long-lived stream.
    fn hear(&mut self, id: u32, message: &[u8], events: &mut Vec<Event>) -> Result<(), Violation> {
        let unreadable = Violation::protocol("a ModelStreamInferResponse that is not protobuf");
        let answer = StreamAnswer::parse(message).map_err(|_| unreadable)?;
        let Some(stream) = self.streams.get_mut(&id) else { return Ok(()) };
        if stream.idle {
            return Err(Violation::protocol("a response on a stream without a request"));
        }
        let token = stream.token;
        if answer.has_output {
            events.push(Event::Response { token });
        }
        if let (Some(checker), Some(_)) = (&self.manner.checker, stream.response.compared) {
            compare(stream, checker, &answer);
        }
        if let Some(text) = answer.error {
            let failure = Failure::new(Code::UNKNOWN, String::from_utf8_lossy(text).into_owned());
            stream.response.wrong.get_or_insert(Box::new(failure));
        }
        if !answer.is_last() {
            return Ok(());
        }
        let outcome = stream.response.wrong.take().map_or(Ok(()), |failure| Err(*failure));
        if stream.queued < super::PREFIX_LEN + stream.message_len(&self.pool) {
            // Answered before the request was fully sent: the rest of it must not meet the next one.
            self.cancel(id);
        } else {
            stream.idle = true;
            self.idle.push(id);
        }
        events.push(Event::Done { token, outcome });
        Ok(())
    }

    /// The stream is no more: it cannot take another request.
    pub(super) fn not_idle(&mut self, id: u32) {
        self.idle.retain(|idle| *idle != id);
    }
}

/// One response of a request whose answers are compared; the first difference is kept.
fn compare(stream: &mut Stream, checker: &Checker, answer: &StreamAnswer) {
    let (payload, number) = (stream.payload, stream.response.compared.unwrap_or(0));
    let seen = number + u32::from(answer.has_output);
    stream.response.compared = Some(seen);
    let response = answer.response.filter(|_| answer.has_output).unwrap_or_default();
    let outcome = if answer.has_output { checker.check(payload, number, response) } else { Ok(()) };
    // Of a request that failed nobody expects as many responses.
    let is_whole = answer.is_last() && answer.error.is_none() && stream.response.wrong.is_none();
    let outcome = outcome.and_then(|()| if is_whole { checker.check_count(payload, seen) } else { Ok(()) });
    if let Err(failure) = outcome {
        stream.response.wrong.get_or_insert(Box::new(failure));
    }
}
