//! Where letters are kept: in memory, within a count and a budget of bytes, and in a file if the config names one.
//!
//! The file's thread takes from the store what it has not written yet, so that nobody waits for a disk and nothing
//! queues up for it.

use super::{
    Filter, Letter, LettersStatus,
    file::{Log, Record},
};
use crate::config::DeadLetters;
use std::{
    borrow::Cow,
    collections::{BTreeMap, HashSet},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{SystemTime, UNIX_EPOCH},
};

/// Bytes that the file's thread takes at once.
const ROUND: u64 = 1 << 20;

/// The letters of a host.
pub struct Letters {
    count: usize,
    bytes: u64,
    file: Option<PathBuf>,
    shelf: Mutex<Shelf>,
    news: Condvar,
    writer: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shelf {
    kept: BTreeMap<u64, Arc<Letter>>,
    status: LettersStatus,
    /// The number of the newest letter.
    last: u64,
    /// Letters up to this one had to make room.
    gone: u64,
    /// Those that are being sent again.
    busy: HashSet<u64>,
    /// The file has every letter up to this one, but those that had left before it was their turn.
    written: u64,
    /// What the file has and the operator sent again or threw away.
    struck: Vec<u64>,
    has_file: bool,
    is_closing: bool,
}

impl Letters {
    /// None yet, within these limits. The file, if any, is not touched before [`Letters::open`]; it may lie in `data`.
    pub fn new(limits: &DeadLetters, data: &Path) -> Letters {
        Letters {
            count: limits.count,
            bytes: limits.bytes,
            file: limits.file.as_ref().map(|file| data.join(file)),
            shelf: Mutex::default(),
            news: Condvar::new(),
            writer: Mutex::default(),
        }
    }

    /// Reads the file, and begins to write it, if there is to be one.
    ///
    /// # Errors
    /// It cannot be read or written, is another program's, or another host writes it.
    pub fn open(&'static self) -> io::Result<()> {
        let Some(path) = &self.file else { return Ok(()) };
        let log = Log::open(path, |record| self.shelf().apply(record))?;
        let mut shelf = self.shelf();
        shelf.trim(self.count, self.bytes);
        (shelf.has_file, shelf.written) = (true, shelf.last);
        drop(shelf);
        let write = move || self.write(log);
        let writer = thread::Builder::new().name("mycelia-letters".into()).spawn(write)?;
        *self.writer.lock().unwrap_or_else(PoisonError::into_inner) = Some(writer);
        Ok(())
    }

    /// Writes what there is, and lets the file go.
    pub fn close(&self) {
        self.shelf().is_closing = true;
        self.news.notify_all();
        if let Some(writer) = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take() {
            writer.join().expect("writing letters does not panic");
        }
        self.shelf().has_file = false;
    }

    /// Keeps the letter that is made, and lets older ones go for it; one with a body too large is not even made.
    pub fn add(&self, body: usize, make: impl FnOnce() -> Letter) {
        let letter = (self.count > 0 && body as u64 <= self.bytes).then(make);
        let mut shelf = self.shelf();
        match letter.filter(|letter| letter.bytes() <= self.bytes) {
            Some(letter) => {
                let id = shelf.last + 1;
                shelf.keep(Letter { id, ..letter });
                shelf.trim(self.count, self.bytes);
            }
            None => shelf.status.let_go += 1,
        }
        self.tell(&shelf);
    }

    /// The letters that are meant, the oldest first.
    pub fn find(&self, filter: &Filter) -> Vec<Arc<Letter>> {
        let now = now_ms();
        let shelf = self.shelf();
        shelf.kept.values().filter(|letter| filter.takes(letter, now)).cloned().collect()
    }

    /// Sends a letter again by `send`; nothing if it is not kept, or is being sent already. It is a letter until it was
    /// accepted, so that a host that is killed meanwhile sends it twice rather than never.
    pub fn replay<E>(
        &self,
        id: u64,
        send: impl FnOnce(&Letter) -> Result<(), E>,
    ) -> Option<Result<(), E>> {
        let letter = {
            let mut shelf = self.shelf();
            let letter = shelf.kept.get(&id).cloned()?;
            shelf.busy.insert(id).then_some(letter)?
        };
        let sent = send(&letter);
        let mut shelf = self.shelf();
        shelf.busy.remove(&id);
        if sent.is_ok() {
            shelf.strike(id);
            self.tell(&shelf);
        }
        Some(sent)
    }

    /// Throws away the letters that are meant, and answers how many.
    pub fn purge(&self, filter: &Filter) -> u64 {
        let now = now_ms();
        let mut shelf = self.shelf();
        let meant = shelf.kept.values().filter(|letter| filter.takes(letter, now));
        let ids: Vec<u64> = meant.map(|letter| letter.id).collect();
        ids.iter().for_each(|id| shelf.strike(*id));
        self.tell(&shelf);
        ids.len() as u64
    }

    /// How many there are.
    pub fn status(&self) -> LettersStatus {
        self.shelf().status.clone()
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, shelf: &Shelf) {
        if shelf.has_file {
            self.news.notify_one();
        }
    }

    /// Writes what is new until the store is closed and nothing is.
    fn write(&self, mut log: Log) {
        loop {
            let waits = |shelf: &mut Shelf| !shelf.has_news() && !shelf.is_closing;
            let waited = self.news.wait_while(self.shelf(), waits);
            let mut shelf = waited.unwrap_or_else(PoisonError::into_inner);
            if !shelf.has_news() {
                return;
            }
            if log.is_longer_than(self.bytes.saturating_mul(2)) {
                let (all, range) = shelf.take_all();
                drop(shelf);
                let letters = all.iter().map(|letter| Record::Letter(Cow::Borrowed(letter)));
                log.rewrite([range].into_iter().chain(letters));
            } else {
                let (new, struck, range) = shelf.take_news();
                drop(shelf);
                let letters = new.iter().map(|letter| Record::Letter(Cow::Borrowed(letter)));
                log.append([range, Record::Struck(struck)].into_iter().chain(letters));
            }
        }
    }
}

impl Shelf {
    fn keep(&mut self, letter: Letter) {
        self.last = self.last.max(letter.id);
        self.forget(letter.id);
        let of_subsystem = self.status.subsystems.entry(letter.subsystem.clone()).or_default();
        *of_subsystem.entry(letter.reason).or_default() += 1;
        self.status.kept += 1;
        self.status.bytes += letter.bytes();
        self.kept.insert(letter.id, Arc::new(letter));
    }

    fn forget(&mut self, id: u64) {
        let Some(letter) = self.kept.remove(&id) else { return };
        self.status.kept -= 1;
        self.status.bytes -= letter.bytes();
        let Some(reasons) = self.status.subsystems.get_mut(&letter.subsystem) else { return };
        reasons.entry(letter.reason).and_modify(|count| *count -= 1);
        reasons.retain(|_, count| *count > 0);
        if reasons.is_empty() {
            self.status.subsystems.remove(&letter.subsystem);
        }
    }

    /// Lets the oldest go until the others have room.
    fn trim(&mut self, count: usize, bytes: u64) {
        while self.kept.len() > count || self.status.bytes > bytes {
            let Some(oldest) = self.kept.keys().next().copied() else { return };
            self.forget(oldest);
            self.gone = oldest;
            self.status.let_go += 1;
        }
    }

    /// Takes a letter out of the store and the file.
    fn strike(&mut self, id: u64) {
        self.forget(id);
        if self.has_file && id <= self.written {
            self.struck.push(id);
        }
    }

    /// What the file says.
    fn apply(&mut self, record: Record<'_>) {
        match record {
            Record::Letter(letter) => self.keep(letter.into_owned()),
            Record::Struck(ids) => ids.into_iter().for_each(|id| self.forget(id)),
            Record::Range { gone, last } => {
                let all: Vec<u64> = self.kept.range(..=gone).map(|(id, _)| *id).collect();
                all.into_iter().for_each(|id| self.forget(id));
                (self.gone, self.last) = (self.gone.max(gone), self.last.max(last));
            }
        }
    }

    fn has_news(&self) -> bool {
        !self.struck.is_empty() || self.last > self.written
    }

    /// Some of the letters that the file lacks, and what else is new.
    fn take_news(&mut self) -> (Vec<Arc<Letter>>, Vec<u64>, Record<'static>) {
        let mut bytes = 0;
        let fits = |letter: &&Arc<Letter>| {
            let has_room = bytes < ROUND;
            bytes += letter.bytes();
            has_room
        };
        let new = self.kept.range(self.written + 1..).map(|(_, letter)| letter);
        let new: Vec<_> = new.take_while(fits).cloned().collect();
        let is_all = bytes < ROUND;
        self.written = new.last().filter(|_| !is_all).map_or(self.last, |letter| letter.id);
        (new, std::mem::take(&mut self.struck), self.range())
    }

    /// All that the file is to have.
    fn take_all(&mut self) -> (Vec<Arc<Letter>>, Record<'static>) {
        self.struck.clear();
        self.written = self.last;
        (self.kept.values().cloned().collect(), self.range())
    }

    fn range(&self) -> Record<'static> {
        Record::Range { gone: self.gone, last: self.last }
    }
}

/// Milliseconds since 1970.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::{super::tests::letter, *};
    use std::{fs, io::Write};
    use tempfile::TempDir;

    fn letters(count: usize, bytes: u64, file: Option<&Path>) -> &'static Letters {
        let limits = DeadLetters { count, bytes, file: file.map(Into::into) };
        Box::leak(Box::new(Letters::new(&limits, Path::new(""))))
    }

    fn opened(count: usize, bytes: u64, file: &Path) -> &'static Letters {
        let letters = letters(count, bytes, Some(file));
        letters.open().unwrap();
        letters
    }

    fn add(letters: &Letters, number: u64, length: usize) {
        letters.add(length, || letter(number, length));
    }

    fn ids(letters: &Letters) -> Vec<u64> {
        letters.find(&Filter::default()).iter().map(|letter| letter.id).collect()
    }

    fn id(id: u64) -> Filter {
        Filter { ids: vec![id], ..Filter::default() }
    }

    #[test]
    fn the_newest_stay_within_the_count() {
        let letters = letters(3, 1 << 20, None);
        (1..=5).for_each(|number| add(letters, number, 10));
        assert_eq!(ids(letters), [3, 4, 5]);
        let status = letters.status();
        assert_eq!((status.kept, status.let_go), (3, 2));
        assert_eq!(status.subsystems["kv"][&super::super::Reason::Failed], 3);
        assert_eq!(status.bytes, letters.find(&id(3))[0].bytes() * 3);
    }

    #[test]
    fn the_newest_stay_within_the_bytes() {
        let size = letter(1, 1000).bytes();
        let letters = letters(100, 2 * size, None);
        (1..=3).for_each(|number| add(letters, number, 1000));
        assert_eq!(ids(letters), [2, 3]);
        // One that takes the room of both, and one that has no room at all, which pushes nobody out.
        add(letters, 4, 1000 + size as usize);
        assert_eq!(ids(letters), [4]);
        add(letters, 5, 1001 + size as usize);
        assert_eq!((ids(letters), letters.status().let_go), (vec![4], 4));
        letters.add(usize::MAX, || panic!("it must not be copied"));
        assert_eq!(letters.status().let_go, 5);
    }

    #[test]
    fn none_are_kept_where_none_may_be() {
        let letters = letters(0, 1 << 20, None);
        letters.add(0, || panic!("it must not be copied"));
        let LettersStatus { kept, bytes, let_go, subsystems } = letters.status();
        assert_eq!((kept, bytes, let_go, subsystems.len()), (0, 0, 1, 0));
    }

    #[test]
    fn a_letter_stays_until_it_was_accepted() {
        let letters = letters(3, 1 << 20, None);
        add(letters, 1, 10);
        let busy = |_: &Letter| {
            assert!(letters.replay::<()>(1, |_| panic!("not twice at once")).is_none());
            Err("full")
        };
        assert_eq!(letters.replay(1, busy), Some(Err("full")));
        assert_eq!(ids(letters), [1]);
        assert_eq!(letters.replay::<()>(1, |_| Ok(())), Some(Ok(())));
        assert_eq!(letters.replay::<()>(1, |_| Ok(())), None);
        assert_eq!(letters.status(), LettersStatus::default());
    }

    #[test]
    fn a_file_holds_what_the_store_does() {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("new/letters");
        let before = opened(10, 1 << 20, &file);
        (1..=12).for_each(|number| add(before, number, 100));
        assert_eq!(before.purge(&id(5)), 1);
        assert_eq!(before.replay::<()>(12, |_| Ok(())), Some(Ok(())));
        let kept = before.find(&Filter::default());
        before.close();
        let after = opened(10, 1 << 20, &file);
        assert_eq!(after.find(&Filter::default()), kept);
        add(after, 13, 1);
        assert_eq!(ids(after), [3, 4, 6, 7, 8, 9, 10, 11, 13], "a number is never given again");
        after.close();
    }

    #[test]
    fn a_file_stays_within_twice_the_budget() {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("letters");
        let size = letter(10, 1000).bytes();
        let before = opened(100, 3 * size, &file);
        for number in 10..60 {
            add(before, number, 1000);
            // Each is written by itself, since the thread takes what is still kept.
            while before.shelf().has_news() {
                thread::yield_now();
            }
        }
        before.close();
        let length = fs::metadata(&file).unwrap().len();
        assert!(length <= 7 * size, "{length} bytes for {} letters of {size}", ids(before).len());
        let after = opened(100, 3 * size, &file);
        assert_eq!(ids(after), [48, 49, 50]);
        after.purge(&Filter::default());
        after.close();
        let empty = opened(100, 3 * size, &file);
        add(empty, 1, 1);
        assert_eq!(ids(empty), [51], "a number is never given again");
        empty.close();
    }

    #[test]
    fn a_torn_tail_is_cut_off_at_every_byte() {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("letters");
        let one = opened(10, 1 << 20, &file);
        add(one, 1, 30);
        one.close();
        let first = fs::read(&file).unwrap().len();
        let two = opened(10, 1 << 20, &file);
        add(two, 2, 30);
        two.close();
        let whole = fs::read(&file).unwrap();
        for length in 0..whole.len() {
            fs::write(&file, &whole[..length]).unwrap();
            let torn = opened(10, 1 << 20, &file);
            let expect: &[u64] = if length < first { &[] } else { &[1] };
            assert_eq!(ids(torn), expect, "{length} bytes");
            add(torn, 9, 1);
            torn.close();
            let mended = opened(10, 1 << 20, &file);
            assert_eq!(mended.status().kept as usize, expect.len() + 1, "{length} bytes");
            mended.close();
        }
    }

    #[test]
    fn a_flipped_byte_of_a_letter_loses_that_letter_alone() {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("letters");
        let before = opened(10, 1 << 20, &file);
        (1..=3).for_each(|number| add(before, number, 30));
        before.close();
        let whole = fs::read(&file).unwrap();
        let magic = super::super::file::MAGIC.len();
        // Where lengths and checksums lie: a length that is wrong may hide what follows.
        let mut heads = Vec::new();
        let mut next = magic;
        while let Some(size) = whole.get(next..next + 4) {
            heads.push(next..next + 12);
            next += 12 + u32::from_le_bytes(size.try_into().unwrap()) as usize;
        }
        assert!(heads.len() >= 3 && next == whole.len());
        let mut lost = 0;
        for at in magic..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x10;
            fs::write(&file, &flipped).unwrap();
            let after = opened(10, 1 << 20, &file);
            let found = after.find(&Filter::default());
            let is_head = heads.iter().any(|head| head.contains(&at));
            // Not every record is a letter.
            assert!(is_head || found.len() >= 2, "byte {at}");
            lost += usize::from(found.len() == 2);
            assert!(found.iter().all(|letter| before.find(&id(letter.id)) == [letter.clone()]));
            after.close();
        }
        assert!(lost > 90, "a flip in one of three bodies of 30 bytes loses it, {lost} times");
    }

    #[test]
    fn another_file_is_left_alone() {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("letters");
        fs::File::create(&file).unwrap().write_all(b"my diary").unwrap();
        let error = letters(1, 1, Some(&file)).open().unwrap_err().to_string();
        assert!(error.contains("no file of dead letters"), "{error}");
        assert_eq!(fs::read(&file).unwrap(), b"my diary");
        fs::remove_file(&file).unwrap();
        let first = opened(1, 1, &file);
        let error = letters(1, 1, Some(&file)).open().unwrap_err().to_string();
        assert!(error.contains("another host"), "{error}");
        first.close();
    }
}
