//! What the peer's frames do to a connection.

use super::{Connection, Event, MAX_FRAME, MAX_HEADER_BLOCK, PREFIX_LEN, Receiving, Stream, WINDOW_GRAIN};
use crate::grpc::response::reset;
use crate::http2::Violation;
use crate::http2::frame::{self, Header};
use crate::http2::hpack::Fields;

impl Connection {
    /// Read frames; returns how many bytes were used. The rest must come again, with more behind it.
    pub fn receive(&mut self, input: &[u8], events: &mut Vec<Event>) -> Result<usize, Violation> {
        let used = self.receive_frames(input, events)?;
        for id in self.begun.drain(..) {
            if let Some(stream) = self.streams.get(&id) {
                events.push(Event::First { token: stream.token });
            }
        }
        Ok(used)
    }

    fn receive_frames(&mut self, input: &[u8], events: &mut Vec<Event>) -> Result<usize, Violation> {
        let mut rest = input;
        loop {
            if let Receiving::Data { .. } = self.receiving {
                rest = &rest[self.receive_data(rest, events)?..];
                if let Receiving::Data { .. } = self.receiving {
                    return Ok(input.len() - rest.len());
                }
            }
            let Some((header, body)) = rest.split_first_chunk::<{ frame::HEADER_LEN }>() else { break };
            let header = Header::parse(header);
            if header.len > MAX_FRAME {
                return Err(Violation::frame_size("a frame larger than allowed"));
            }
            self.check_order(header)?;
            if header.kind == frame::DATA {
                // Padding is known only with the first byte of the body.
                let Some(used) = self.begin_data(header, body, events)? else { break };
                rest = &body[used..];
                continue;
            }
            let Some((payload, after)) = body.split_at_checked(header.len) else { break };
            self.frame(header, payload, events)?;
            rest = after;
        }
        Ok(input.len() - rest.len())
    }

    fn check_order(&self, header: Header) -> Result<(), Violation> {
        if !self.ready && header.kind != frame::SETTINGS {
            return Err(Violation::protocol("a frame before SETTINGS"));
        }
        match &self.block {
            Some((stream, ..)) if header.kind != frame::CONTINUATION || header.stream != *stream => {
                Err(Violation::protocol("a header block interrupted by another frame"))
            }
            None if header.kind == frame::CONTINUATION => Err(Violation::protocol("CONTINUATION of nothing")),
            _ => Ok(()),
        }
    }

    fn frame(&mut self, header: Header, payload: &[u8], events: &mut Vec<Event>) -> Result<(), Violation> {
        match header.kind {
            frame::HEADERS => self.on_headers(header, payload, events),
            frame::CONTINUATION => self.on_continuation(header, payload, events),
            frame::RST_STREAM => self.on_reset(header, payload, events),
            frame::SETTINGS => self.on_settings(header, payload, events),
            frame::PING => self.on_ping(header, payload),
            frame::GOAWAY => self.on_goaway(header, payload, events),
            frame::WINDOW_UPDATE => self.on_window_update(header, payload),
            frame::PUSH_PROMISE => Err(Violation::protocol("PUSH_PROMISE although push is off")),
            _ => Ok(()),
        }
    }

    /// None until the padding length is known.
    fn begin_data(&mut self, header: Header, body: &[u8], events: &mut Vec<Event>) -> Result<Option<usize>, Violation> {
        self.check_stream(header.stream)?;
        let (padding, used) = match (header.has(frame::PADDED), body.first()) {
            (false, _) => (0, 0),
            (true, _) if header.len == 0 => return Err(Violation::frame_size("padding in an empty frame")),
            (true, None) => return Ok(None),
            (true, Some(&padding)) => (usize::from(padding), 1),
        };
        let Some(left) = (header.len - used).checked_sub(padding) else {
            return Err(Violation::protocol("more padding than frame"));
        };
        self.give_back(header.stream, header.len as u32);
        self.receiving =
            Receiving::Data { stream: header.stream, left, padding, end_stream: header.has(frame::END_STREAM) };
        if left + padding == 0 {
            self.receive_data(&[], events)?;
        }
        Ok(Some(used))
    }

    /// Use up DATA of the current frame; returns how many bytes.
    fn receive_data(&mut self, input: &[u8], events: &mut Vec<Event>) -> Result<usize, Violation> {
        let Receiving::Data { stream, left, padding, end_stream } = &mut self.receiving else { return Ok(0) };
        let content = input.len().min(*left);
        let padded = (input.len() - content).min(*padding);
        *left -= content;
        *padding -= padded;
        let (id, end_stream, over) = (*stream, *end_stream, *left + *padding == 0);
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.response.messages.feed(&input[..content])?;
            if stream.response.collector.is_some() {
                self.look(id, &input[..content], events)?;
            }
        }
        if over {
            self.receiving = Receiving::Header;
            if end_stream {
                self.end_stream(id, events);
            }
        }
        Ok(content + padded)
    }

    /// Open the receive windows again, in large steps.
    fn give_back(&mut self, id: u32, len: u32) {
        self.unacknowledged += len;
        if self.unacknowledged >= WINDOW_GRAIN {
            let increment = std::mem::take(&mut self.unacknowledged).to_be_bytes();
            self.control(frame::WINDOW_UPDATE, 0, 0, &increment);
        }
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.response.unacknowledged += len;
        if stream.response.unacknowledged >= WINDOW_GRAIN {
            let increment = std::mem::take(&mut stream.response.unacknowledged).to_be_bytes();
            self.control(frame::WINDOW_UPDATE, 0, id, &increment);
        }
    }

    /// Frames may come for streams of the past, never for streams that were not opened.
    fn check_stream(&self, id: u32) -> Result<(), Violation> {
        if id % 2 == 1 && id < self.next_stream {
            Ok(())
        } else {
            Err(Violation::protocol("a frame on an idle stream"))
        }
    }

    fn on_headers(&mut self, header: Header, payload: &[u8], events: &mut Vec<Event>) -> Result<(), Violation> {
        self.check_stream(header.stream)?;
        let fragment = strip(header, payload)?;
        let end_stream = header.has(frame::END_STREAM);
        if !header.has(frame::END_HEADERS) {
            self.block = Some((header.stream, end_stream, fragment.to_vec()));
            return Ok(());
        }
        self.on_block(header.stream, end_stream, fragment, events)
    }

    fn on_continuation(&mut self, header: Header, payload: &[u8], events: &mut Vec<Event>) -> Result<(), Violation> {
        let Some((stream, end_stream, mut block)) = self.block.take() else { return Ok(()) };
        block.extend_from_slice(payload);
        if block.len() > MAX_HEADER_BLOCK {
            return Err(Violation { code: frame::ENHANCE_YOUR_CALM, what: "an endless header block" });
        }
        if header.has(frame::END_HEADERS) {
            return self.on_block(stream, end_stream, &block, events);
        }
        self.block = Some((stream, end_stream, block));
        Ok(())
    }

    fn on_block(&mut self, id: u32, end_stream: bool, block: &[u8], events: &mut Vec<Event>) -> Result<(), Violation> {
        // Also for streams of the past: the table must stay in step with the peer's.
        let mut unwanted = Fields::default();
        let fields = self.streams.get_mut(&id).map_or(&mut unwanted, |stream| &mut stream.response.fields);
        self.decoder.decode(block, fields)?;
        if end_stream {
            self.end_stream(id, events);
        } else if !self.manner.streaming {
            self.begun.push(id);
        }
        Ok(())
    }

    fn end_stream(&mut self, id: u32, events: &mut Vec<Event>) {
        let Some(stream) = self.streams.remove(&id) else { return };
        if stream.idle {
            return self.not_idle(id);
        }
        if self.begun.last() == Some(&id) {
            self.begun.pop();
        }
        if self.manner.streaming {
            // Our half is still open.
            self.control(frame::RST_STREAM, 0, id, &frame::CANCEL.to_be_bytes());
            events.push(Event::Done { token: stream.token, outcome: Err(stream.response.cut_short()) });
            return;
        }
        if stream.queued < PREFIX_LEN + stream.message_len(&self.pool) {
            // Answered before the request was fully sent: nobody wants the rest.
            self.control(frame::RST_STREAM, 0, id, &frame::CANCEL.to_be_bytes());
        }
        events.push(Event::Done { token: stream.token, outcome: stream.response.outcome() });
    }

    fn on_reset(&mut self, header: Header, payload: &[u8], events: &mut Vec<Event>) -> Result<(), Violation> {
        self.check_stream(header.stream)?;
        if payload.len() != 4 {
            return Err(Violation::frame_size("RST_STREAM of a wrong size"));
        }
        if let Some(stream) = self.streams.remove(&header.stream) {
            if stream.idle {
                self.not_idle(header.stream);
                return Ok(());
            }
            events.push(Event::Done { token: stream.token, outcome: Err(reset(frame::u32_at(payload))) });
        }
        Ok(())
    }

    fn on_settings(&mut self, header: Header, payload: &[u8], events: &mut Vec<Event>) -> Result<(), Violation> {
        if header.stream != 0 {
            return Err(Violation::protocol("SETTINGS on a stream"));
        }
        if header.has(frame::ACK) {
            return match payload.len() {
                0 if self.ready => Ok(()),
                0 => Err(Violation::protocol("an acknowledgement before SETTINGS")),
                _ => Err(Violation::frame_size("an acknowledgement with content")),
            };
        }
        if payload.len() % 6 != 0 {
            return Err(Violation::frame_size("SETTINGS of a wrong size"));
        }
        for setting in payload.chunks_exact(6) {
            self.apply(u16::from_be_bytes([setting[0], setting[1]]), frame::u32_at(&setting[2..]))?;
        }
        self.answer(frame::SETTINGS, &[])?;
        if !std::mem::replace(&mut self.ready, true) {
            events.push(Event::Ready);
        }
        self.pump_blocked();
        Ok(())
    }

    fn apply(&mut self, setting: u16, value: u32) -> Result<(), Violation> {
        match setting {
            frame::HEADER_TABLE_SIZE => self.head.set_table_size(value as usize),
            frame::MAX_CONCURRENT_STREAMS => self.max_streams = self.own_max_streams.min(value as usize),
            frame::INITIAL_WINDOW_SIZE => return self.set_initial_window(i64::from(value)),
            frame::MAX_FRAME_SIZE if (1 << 14..1 << 24).contains(&value) => self.max_frame = value as usize,
            frame::MAX_FRAME_SIZE => return Err(Violation::protocol("a maximal frame size out of range")),
            _ => {}
        }
        Ok(())
    }

    fn set_initial_window(&mut self, window: i64) -> Result<(), Violation> {
        let change = window - self.initial_window;
        self.initial_window = window;
        let mut fits = window <= frame::MAX_WINDOW;
        for stream in self.streams.values_mut() {
            stream.window += change;
            fits &= stream.window <= frame::MAX_WINDOW;
        }
        if fits { Ok(()) } else { Err(Violation::flow_control("an initial window too large")) }
    }

    fn on_ping(&mut self, header: Header, payload: &[u8]) -> Result<(), Violation> {
        if header.stream != 0 {
            return Err(Violation::protocol("PING on a stream"));
        }
        if payload.len() != 8 {
            return Err(Violation::frame_size("PING of a wrong size"));
        }
        if header.has(frame::ACK) { Ok(()) } else { self.answer(frame::PING, payload) }
    }

    fn on_goaway(&mut self, header: Header, payload: &[u8], events: &mut Vec<Event>) -> Result<(), Violation> {
        if header.stream != 0 {
            return Err(Violation::protocol("GOAWAY on a stream"));
        }
        if payload.len() < 8 {
            return Err(Violation::frame_size("GOAWAY of a wrong size"));
        }
        self.going_away = true;
        let last = frame::u32_at(payload) & frame::MAX_STREAM_ID;
        let unprocessed: Vec<u32> = self.streams.keys().copied().filter(|id| *id > last).collect();
        for id in unprocessed {
            if let Some(stream) = self.streams.remove(&id) {
                if stream.idle {
                    self.not_idle(id);
                    continue;
                }
                let Stream { token, payload, suffix, .. } = stream;
                events.push(Event::Unprocessed { token, payload, suffix });
            }
        }
        Ok(())
    }

    fn on_window_update(&mut self, header: Header, payload: &[u8]) -> Result<(), Violation> {
        if payload.len() != 4 {
            return Err(Violation::frame_size("WINDOW_UPDATE of a wrong size"));
        }
        let increment = i64::from(frame::u32_at(payload) & frame::MAX_STREAM_ID);
        if increment == 0 {
            return Err(Violation::protocol("WINDOW_UPDATE by nothing"));
        }
        if header.stream == 0 {
            self.send_window = widened(self.send_window, increment)?;
            self.pump_blocked();
            return Ok(());
        }
        self.check_stream(header.stream)?;
        if let Some(stream) = self.streams.get_mut(&header.stream) {
            stream.window = widened(stream.window, increment)?;
            // If this lets all of it out, its place among the blocked ones is passed over later.
            self.pump_again(header.stream);
        }
        Ok(())
    }
}

fn widened(window: i64, increment: i64) -> Result<i64, Violation> {
    let wider = window + increment;
    if wider <= frame::MAX_WINDOW { Ok(wider) } else { Err(Violation::flow_control("a window too large")) }
}

/// A HEADERS payload without padding and priority.
fn strip(header: Header, payload: &[u8]) -> Result<&[u8], Violation> {
    let mut fragment = payload;
    let mut padding = 0;
    if header.has(frame::PADDED) {
        let (&first, rest) = fragment.split_first().ok_or(Violation::frame_size("padding in an empty frame"))?;
        (padding, fragment) = (usize::from(first), rest);
    }
    if header.has(frame::PRIORITY) {
        fragment = fragment.get(5..).ok_or(Violation::frame_size("a priority cut short"))?;
    }
    let len = fragment.len().checked_sub(padding).ok_or(Violation::protocol("more padding than frame"))?;
    Ok(&fragment[..len])
}
