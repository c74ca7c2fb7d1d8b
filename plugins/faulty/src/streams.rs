//! Answers in parts, written and taken in every way.

use crate::{Faulty, in_words, text};
use mycelia_plugin::prelude::*;
use std::sync::PoisonError;

/// An answer that is written bit by bit: the numbers below `end`.
#[derive(Serialize, Deserialize)]
pub(crate) struct Feed {
    writer: StreamWriter<u64>,
    next: u64,
    end: u64,
}

impl Feed {
    fn write(&mut self, count: u64) -> Result<()> {
        for _ in 0..count.min(self.end - self.next) {
            self.writer.part(&self.next)?;
            self.next += 1;
        }
        Ok(())
    }
}

impl Faulty {
    /// All at once.
    pub(crate) fn parts(&mut self, count: Param<u64>, mut writer: StreamWriter<u64>) -> Result<()> {
        for number in 0..count.0 {
            writer.part(&number)?;
        }
        writer.end();
        Ok(())
    }

    /// As many as there is room for, again and again.
    pub(crate) fn parts_in_turns(
        &mut self,
        ctx: &mut Context,
        count: Param<u64>,
        writer: StreamWriter<u64>,
    ) -> Result<()> {
        self.kept.feeds.push(Feed { writer, next: 0, end: count.0 });
        ctx.after("1ms", "feed", &())
    }

    pub(crate) fn feed(&mut self, ctx: &mut Context) -> Result<()> {
        for mut feed in std::mem::take(&mut self.kept.feeds) {
            let Err(error) = feed.write(u64::MAX) else {
                feed.writer.end();
                continue;
            };
            self.kept.refused.push(in_words(&error));
            if error.code == ErrorCode::Full {
                self.kept.feeds.push(feed);
                ctx.after("1ms", "feed", &())?;
            }
        }
        Ok(())
    }

    /// Keeps the answer open.
    pub(crate) fn open_parts(&mut self, writer: StreamWriter<u64>) -> Result<()> {
        self.kept.feeds.push(Feed { writer, next: 0, end: u64::MAX });
        Ok(())
    }

    /// Adds to every open answer; what comes of it shows `refused`.
    pub(crate) fn add_parts(&mut self, count: Param<u64>) -> Result<()> {
        for feed in &mut self.kept.feeds {
            let refused = feed.write(count.0).err();
            self.kept.refused.extend(refused.as_ref().map(in_words));
        }
        Ok(())
    }

    pub(crate) fn end_parts(&mut self) -> Result<()> {
        self.kept.feeds.drain(..).for_each(|feed| feed.writer.end());
        Ok(())
    }

    /// From a thread of its own, which waits for room.
    pub(crate) fn parts_by_thread(
        &mut self,
        ctx: &mut Context,
        count: Param<u64>,
        writer: StreamWriter<u64>,
    ) -> Result<()> {
        let words = self.words.clone();
        ctx.spawn("writer", move |_, _| {
            let mut feed = Feed { writer, next: 0, end: count.0 };
            match feed.write(count.0) {
                Ok(()) => feed.writer.end(),
                Err(error) => {
                    words.lock().unwrap_or_else(PoisonError::into_inner).push(in_words(&error));
                }
            }
            Ok(())
        })
    }

    /// Asks the path in the body, and cancels after so many parts.
    pub(crate) fn ask_parts(
        &mut self,
        ctx: &mut Context,
        limit: Param<u64>,
        to: Raw,
    ) -> Result<()> {
        ctx.ask(text(&to)?, Raw::from("")).reply_to(format!("part/{}", limit.0))
    }

    /// As `ask_parts`, with so many milliseconds between two parts.
    pub(crate) fn ask_parts_within(
        &mut self,
        ctx: &mut Context,
        limit: Param<u64>,
        to: Raw,
    ) -> Result<()> {
        let within = std::time::Duration::from_millis(limit.0);
        ctx.ask(text(&to)?, Raw::from("")).within(within).reply_to("part/1000000")
    }

    pub(crate) fn part(
        &mut self,
        ctx: &mut Context,
        limit: Param<u64>,
        part: Part<u64>,
    ) -> Result<()> {
        self.kept.parts.push(match part {
            Part::Next(number) => number.to_string(),
            Part::End => "end".into(),
            Part::Failed(error) => in_words(&error),
        });
        if self.kept.parts.len() as u64 == limit.0 {
            ctx.cancel_parts();
        }
        Ok(())
    }

    /// The parts that came, in their order.
    pub(crate) fn parts_taken(&mut self) -> Result<Vec<String>> {
        Ok(self.kept.parts.clone())
    }

    /// What writers were told.
    pub(crate) fn refused(&mut self) -> Result<Vec<String>> {
        let words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        Ok([&self.kept.refused[..], &words[..]].concat())
    }

    /// Asks from a thread of its own, takes so many parts, and no more.
    pub(crate) fn take_parts(
        &mut self,
        ctx: &mut Context,
        count: Param<usize>,
        to: Raw,
    ) -> Result<()> {
        let (to, words) = (text(&to)?.to_owned(), self.words.clone());
        ctx.spawn("reader", move |sender, _| {
            let mut parts = sender.ask(to, Raw::from("")).parts()?;
            let mut told = Vec::new();
            for part in parts.by_ref().take(count.0) {
                let number = part.and_then(|part| part.read::<u64>());
                told.push(
                    number.map_or_else(|error| in_words(&error), |number| number.to_string()),
                );
            }
            told.push(if parts.is_whole() { "whole".into() } else { "taken".into() });
            words.lock().unwrap_or_else(PoisonError::into_inner).extend(told);
            Ok(())
        })
    }
}
