//! Products shared out among instances of this program that share no memory but a [`Board`].
//!
//! wasm without atomics has one thread, but a browser lends a piece of memory to several workers. Each *hand* is this
//! program once more, in a worker of its own. When a model is loaded every hand is given some rows of each matrix, which
//! nobody else holds from then on; in a product each multiplies its own rows, whoever asks included. What a row comes to
//! does not depend on who multiplies it, so that a team's results are those of one thread, to the bit.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::Error;

use crate::Precision;
use crate::ops::multiply;
use crate::slices::MatrixMut;
use crate::weight::{Form, Weight};

/// Most threads of a team, whoever asks included.
pub const MOST_THREADS: usize = 8;

/// Words that different instances write lie so many bytes apart.
const LINE: usize = 64;
/// The word that hands wait for: the number of the last command.
const TURN: usize = 0;
/// Offsets of the command, and of what goes with it and comes back.
const COMMAND: usize = LINE * MOST_THREADS;
const DATA: usize = COMMAND + LINE;
/// Looks at a word before a thread sleeps until it changes: together about as long as waking it would take.
const LOOKS: usize = 2000;
/// How long a hand may be late.
const PATIENCE_MS: f64 = 60_000.0;
/// Shares of rows are multiples of it: whole steps of the kernels.
const STEP: usize = 32;
/// Bytes that wasm's memory grows by.
const PAGE: u64 = 64 << 10;
const PRECISIONS: [Precision; 3] = [Precision::F32, Precision::Bf16, Precision::F16];

/// What a hand answers instead of the number of a command.
const NO_MEMORY: i32 = -1;
const FAILED: i32 = -2;

/// Memory that a thread and its hands share, zeros at first: words, which are read and written whole and in order, and
/// bytes, which whoever has read a word finds as they were when it was written. Both from offset 0 on, a word is four bytes.
pub trait Board: Send + Sync {
    /// Bytes that it has.
    fn size(&self) -> usize;
    /// A word, by its index.
    fn load(&self, word: usize) -> i32;
    /// Writes a word and wakes who waits for it.
    fn store(&self, word: usize, value: i32);
    /// Sleeps while a word has a value, for `most_ms` milliseconds at most; `false` where they are over. It may wake early.
    fn wait(&self, word: usize, value: i32, most_ms: f64) -> bool;
    /// Copies bytes out, from offset `at` on.
    fn read(&self, at: usize, into: &mut [u8]);
    /// Copies bytes in, to offset `at`.
    fn write(&self, at: usize, from: &[u8]);
    /// What this instance itself holds, in pages of 64 KiB.
    fn pages(&self) -> i32;
}

/// Bytes of a board for products of up to `x` values of f32 that come to up to `out`.
#[must_use]
pub const fn board_bytes(x: usize, out: usize) -> usize {
    DATA + (x + out) * size_of::<f32>()
}

/// Why a team cannot go on. The rows of its hands are nowhere else: the model must be loaded anew.
#[derive(Debug)]
pub enum TeamError {
    /// A hand has no memory for so many bytes.
    OutOfMemory(u64),
    /// A hand stopped, or does not answer.
    Lost,
    /// What is to be shared out is no matrix.
    Matrix(Error),
}

impl fmt::Display for TeamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfMemory(bytes) => write!(f, "a thread has no memory for {bytes} bytes"),
            Self::Lost => f.write_str("a thread of the engine stopped or does not answer"),
            Self::Matrix(error) => error.fmt(f),
        }
    }
}

impl From<Error> for TeamError {
    fn from(error: Error) -> Self {
        Self::Matrix(error)
    }
}

impl From<TeamError> for Error {
    fn from(error: TeamError) -> Self {
        match error {
            TeamError::Matrix(error) => error,
            error => Self::Msg(error.to_string()),
        }
    }
}

/// What hands are asked for; what is for one of them names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ask {
    /// Room for rows of a matrix, behind those of `before` rows in what comes back.
    Hold { hand: u32, id: u32, form: u32, rows: u32, columns: u32, before: u32 },
    /// Bytes of these rows.
    Fill { hand: u32, id: u32, at: u32, len: u32 },
    /// Their products with `rows` rows.
    Multiply { id: u32, rows: u32, precision: u32, panel: u32 },
    /// One of them in f32.
    Widen { hand: u32, id: u32, row: u32 },
    /// To hold them no more.
    Free { id: u32 },
    /// No more.
    Stop,
}

impl Ask {
    fn words(self) -> [u32; 8] {
        match self {
            Self::Stop => [0; 8],
            Self::Hold { hand, id, form, rows, columns, before } => {
                [1, hand, id, form, rows, columns, before, 0]
            }
            Self::Fill { hand, id, at, len } => [2, hand, id, at, len, 0, 0, 0],
            Self::Multiply { id, rows, precision, panel } => [3, id, rows, precision, panel, 0, 0, 0],
            Self::Widen { hand, id, row } => [4, hand, id, row, 0, 0, 0, 0],
            Self::Free { id } => [5, id, 0, 0, 0, 0, 0, 0],
        }
    }

    fn of(words: [u32; 8]) -> Self {
        match words {
            [1, hand, id, form, rows, columns, before, _] => {
                Self::Hold { hand, id, form, rows, columns, before }
            }
            [2, hand, id, at, len, ..] => Self::Fill { hand, id, at, len },
            [3, id, rows, precision, panel, ..] => Self::Multiply { id, rows, precision, panel },
            [4, hand, id, row, ..] => Self::Widen { hand, id, row },
            [5, id, ..] => Self::Free { id },
            _ => Self::Stop,
        }
    }
}

/// A thread with its hands.
pub struct Team {
    board: Box<dyn Board>,
    threads: usize,
    patience_ms: f64,
    /// Whoever has it speaks to the hands.
    talk: Mutex<Talk>,
}

#[derive(Default)]
struct Talk {
    turn: i32,
    matrices: u32,
    /// A hand did not answer: nobody waits for it again.
    is_lost: bool,
}

/// A matrix `[rows, columns]` whose rows are shared out.
pub struct Shared {
    team: Arc<Team>,
    id: u32,
    rows: usize,
    columns: usize,
    bytes: u64,
    /// The first rows.
    own: Weight,
}

impl Team {
    /// A thread with its hands 1 to `threads` - 1, which [`serve`] the board, or will.
    ///
    /// # Panics
    /// Where there are more than [`MOST_THREADS`], or the board is smaller than [`board_bytes`].
    #[must_use]
    pub fn new(board: Box<dyn Board>, threads: usize) -> Self {
        assert!((1..=MOST_THREADS).contains(&threads) && board.size() > DATA, "a team and its board");
        Self { board, threads, patience_ms: PATIENCE_MS, talk: Mutex::default() }
    }

    /// Threads, the one that asks included.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Bytes of its board.
    #[must_use]
    pub fn board_size(&self) -> usize {
        self.board.size()
    }

    /// Whether a hand stopped or did not answer: nothing more can be computed.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.talk().is_lost
    }

    /// Bytes that the hands' programs hold, by what they told last.
    #[must_use]
    pub fn hand_bytes(&self) -> u64 {
        let pages = (1..self.threads).map(|hand| self.board.load(word_of(hand) + 1));
        pages.map(|pages| u64::from(pages.unsigned_abs()) * PAGE).sum()
    }

    /// Gives the hands their rows of a matrix; the first stay here.
    ///
    /// # Errors
    /// A hand that has no memory for them, or is lost.
    pub fn share(self: &Arc<Self>, weight: Weight) -> Result<Weight, TeamError> {
        let ((rows, columns), bytes, form) = (weight.dims()?, weight.bytes(), weight.form());
        let code = Form::ALL.iter().position(|one| *one == form).unwrap_or_default() as u32;
        let own = self.rows(rows, 0);
        let bytes_of = |range: &Range<usize>| bytes * range.len() as u64 / rows.max(1) as u64;
        let mut talk = self.talk();
        talk.matrices += 1;
        let id = talk.matrices;
        for hand in 1..self.threads {
            let range = self.rows(rows, hand);
            let before = range.start - own.end;
            let [hand, count, columns, before] = [hand, range.len(), columns, before].map(|n| n as u32);
            let hold = Ask::Hold { hand, id, form: code, rows: count, columns, before };
            self.ask(&mut talk, hold).map_err(|error| match error {
                TeamError::OutOfMemory(_) => TeamError::OutOfMemory(bytes_of(&range)),
                error => error,
            })?;
            weight.with_bytes(range, |bytes| self.fill(&mut talk, hand, id, bytes))??;
        }
        drop(talk);
        // A copy, so that the memory of the others' rows is free.
        let mut kept =
            Weight::zeros(form, own.len(), columns).ok_or(TeamError::OutOfMemory(bytes_of(&own)))?;
        weight.with_bytes(own, |bytes| kept.fill(|own| own.copy_from_slice(bytes)))??;
        Ok(Weight::Shared(Arc::new(Shared { team: Arc::clone(self), id, rows, columns, bytes, own: kept })))
    }

    fn fill(&self, talk: &mut Talk, hand: u32, id: u32, bytes: &[u8]) -> Result<(), TeamError> {
        let mut at = 0;
        for piece in bytes.chunks(self.board.size() - DATA) {
            self.board.write(DATA, piece);
            let len = piece.len() as u32;
            self.ask(talk, Ask::Fill { hand, id, at, len })?;
            at += len;
        }
        Ok(())
    }

    /// Rows of a matrix of `rows` rows that a thread holds; 0 is the one that asks.
    fn rows(&self, rows: usize, thread: usize) -> Range<usize> {
        let share = self.row_share(rows);
        // The last that has any takes the rest: products of many rows sum narrow matrices in another order.
        let last = (rows / share).clamp(1, self.threads) - 1;
        let start = if thread > last { rows } else { share * thread };
        let end = if thread >= last { rows } else { share * (thread + 1) };
        start..end
    }

    fn row_share(&self, rows: usize) -> usize {
        rows.div_ceil(self.threads).next_multiple_of(STEP)
    }

    fn talk(&self) -> MutexGuard<'_, Talk> {
        self.talk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, talk: &mut Talk, ask: Ask) -> Result<(), TeamError> {
        self.begin(talk, ask);
        self.finish(talk)
    }

    /// Has the hands begin.
    fn begin(&self, talk: &mut Talk, ask: Ask) {
        talk.turn = talk.turn.checked_add(1).unwrap_or(1);
        self.board.write(COMMAND, bytemuck::cast_slice(&ask.words()));
        self.board.store(TURN, talk.turn);
    }

    /// Waits until all of them are done.
    fn finish(&self, talk: &mut Talk) -> Result<(), TeamError> {
        let mut done = Ok(());
        for hand in 1..self.threads {
            if talk.is_lost {
                return Err(TeamError::Lost);
            }
            let mut answer = self.board.load(word_of(hand));
            if answer >= 0 && answer != talk.turn {
                answer = changed(&*self.board, word_of(hand), answer, self.patience_ms);
            }
            match answer {
                answer if answer == talk.turn => {}
                NO_MEMORY => {
                    // It goes on with the next command: its word must tell that answer from this one.
                    self.board.store(word_of(hand), talk.turn);
                    done = Err(TeamError::OutOfMemory(0));
                }
                _ => {
                    talk.is_lost = true;
                    done = Err(TeamError::Lost);
                }
            }
        }
        done
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        // Nobody waits for an answer: a hand that is lost has none.
        self.begin(&mut self.talk(), Ask::Stop);
    }
}

impl Shared {
    /// Rows and columns.
    #[must_use]
    pub fn dims(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    /// Bytes of the whole matrix, whoever holds them.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn form(&self) -> Form {
        self.own.form()
    }

    /// One row to f32.
    pub(crate) fn widen_row(&self, row: usize, out: &mut [f32]) -> Result<(), Error> {
        let holds = |thread: &usize| self.team.rows(self.rows, *thread).contains(&row);
        let thread = (0..self.team.threads).find(holds).unwrap_or_default();
        if thread == 0 {
            return self.own.widen_row(row, out);
        }
        let (hand, row) = (thread as u32, (row - self.team.rows(self.rows, thread).start) as u32);
        let mut talk = self.team.talk();
        self.team.ask(&mut talk, Ask::Widen { hand, id: self.id, row })?;
        self.team.board.read(DATA, bytemuck::cast_slice_mut(out));
        Ok(())
    }

    /// `out[row] = matrix · x[row]`.
    pub(crate) fn multiply(
        &self,
        mut out: MatrixMut<'_>,
        x: &[f32],
        precision: Precision,
        panel: &mut [f32],
    ) -> Result<(), Error> {
        let Self { team, id, rows, columns, own, .. } = self;
        let mut talk = team.talk();
        let count = x.len() / columns;
        team.board.write(DATA, bytemuck::cast_slice(x));
        // As large a panel as here: how many rows are taken together decides in which order some sums are made.
        let (code, room) = (precision as u32, panel.len() as u32);
        team.begin(&mut talk, Ask::Multiply { id: *id, rows: count as u32, precision: code, panel: room });
        let own = multiply(out.columns(team.rows(*rows, 0)), x, own, precision, panel);
        // Whatever came of it: the hands must be done before they are asked for anything else.
        team.finish(&mut talk)?;
        own?;
        let mut at = DATA + size_of_val(x);
        for hand in 1..team.threads {
            let mut out = out.columns(team.rows(*rows, hand));
            for row in 0..count {
                let row = out.row(row);
                team.board.read(at, bytemuck::cast_slice_mut(row));
                at += size_of_val(row);
            }
        }
        Ok(())
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let Self { team, id, .. } = self;
        // Hands that are lost hold what they hold until they end.
        team.ask(&mut team.talk(), Ask::Free { id: *id }).ok();
    }
}

/// How a hand that can do no more is told to be lost, by whoever sees it end: the index of a word of the board, and what
/// is to stand there.
#[must_use]
pub const fn lost(hand: usize) -> (usize, i32) {
    (word_of(hand), FAILED)
}

/// Does as a hand, from 1 on, what the thread of a [`Team`] asks for; returns when the team is dropped.
pub fn serve(board: &dyn Board, number: usize) {
    let mut hand = Hand::new(number);
    let mut turn = 0;
    loop {
        turn = changed(board, TURN, turn, f64::INFINITY);
        if !hand.obey(board) {
            return;
        }
    }
}

/// The word of a hand's answers; its pages are behind it.
const fn word_of(hand: usize) -> usize {
    hand * LINE / size_of::<i32>()
}

/// What a word is, once it is another than before or the time is over.
fn changed(board: &dyn Board, word: usize, before: i32, most_ms: f64) -> i32 {
    for _ in 0..LOOKS {
        let now = board.load(word);
        if now != before {
            return now;
        }
        std::hint::spin_loop();
    }
    // What woke it may have been meant for the value before: whoever wrote that may get to wake others only now.
    while board.wait(word, before, most_ms) && board.load(word) == before {}
    board.load(word)
}

/// What a hand holds, and the memory that it computes in.
pub struct Hand {
    number: usize,
    matrices: Vec<Held>,
    x: Vec<f32>,
    out: Vec<f32>,
    panel: Vec<f32>,
}

/// Rows of a matrix, and how many of them the hands before this one hold.
struct Held {
    id: u32,
    weight: Weight,
    before: usize,
}

impl Hand {
    /// One that holds nothing yet; `number` is from 1 on.
    #[must_use]
    pub fn new(number: usize) -> Self {
        let [x, out, panel] = [const { Vec::new() }; 3];
        Self { number, matrices: Vec::new(), x, out, panel }
    }

    /// Does what the board asks for and answers; `false` where nothing more will be asked.
    pub fn obey(&mut self, board: &dyn Board) -> bool {
        let turn = board.load(TURN);
        let mut words = [0; 8];
        board.read(COMMAND, bytemuck::cast_slice_mut(&mut words));
        let ask = Ask::of(words);
        if ask == Ask::Stop {
            return false;
        }
        let done = self.work(board, ask);
        board.store(word_of(self.number), done.map_or_else(|failed| failed, |()| turn));
        true
    }

    /// Does what is asked for; else what to answer.
    fn work(&mut self, board: &dyn Board, ask: Ask) -> Result<(), i32> {
        match ask {
            Ask::Hold { hand, id, form, rows, columns, before } if self.is(hand) => {
                let form = Form::ALL[form as usize];
                let weight = Weight::zeros(form, rows as usize, columns as usize).ok_or(NO_MEMORY)?;
                self.matrices.push(Held { id, weight, before: before as usize });
                self.tell_pages(board);
            }
            Ask::Fill { hand, id, at, len } if self.is(hand) => {
                let range = at as usize..(at + len) as usize;
                let held = held(&mut self.matrices, id)?;
                held.weight.fill(|bytes| board.read(DATA, &mut bytes[range])).map_err(failed)?;
            }
            Ask::Widen { hand, id, row } if self.is(hand) => {
                let held = held(&mut self.matrices, id)?;
                let out = room(&mut self.out, held.weight.dims().map_err(failed)?.1)?;
                held.weight.widen_row(row as usize, out).map_err(failed)?;
                board.write(DATA, bytemuck::cast_slice(out));
            }
            Ask::Free { id } => self.matrices.retain(|held| held.id != id),
            Ask::Multiply { id, rows, precision, panel } => {
                let Held { weight, before, .. } = held(&mut self.matrices, id)?;
                let (columns, inner) = weight.dims().map_err(failed)?;
                if columns == 0 {
                    return Ok(());
                }
                let (rows, before) = (rows as usize, *before);
                let most = self.x.len().max(self.out.len()).max(self.panel.len());
                let x = room(&mut self.x, rows * inner)?;
                let out = room(&mut self.out, rows * columns)?;
                let panel = room(&mut self.panel, panel as usize)?;
                board.read(DATA, bytemuck::cast_slice_mut(x));
                let product = MatrixMut::new(out, rows, columns, columns);
                multiply(product, x, weight, PRECISIONS[precision as usize], panel).map_err(failed)?;
                let at = DATA + size_of_val(x) + rows * before * size_of::<f32>();
                board.write(at, bytemuck::cast_slice(out));
                if self.x.len().max(self.out.len()).max(self.panel.len()) > most {
                    self.tell_pages(board);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn is(&self, hand: u32) -> bool {
        hand as usize == self.number
    }

    fn tell_pages(&self, board: &dyn Board) {
        board.store(word_of(self.number) + 1, board.pages());
    }
}

fn held(matrices: &mut [Held], id: u32) -> Result<&mut Held, i32> {
    matrices.iter_mut().find(|held| held.id == id).ok_or(FAILED)
}

fn failed(_: Error) -> i32 {
    FAILED
}

/// So many values of a buffer, which grows where it is too small.
fn room(buffer: &mut Vec<f32>, len: usize) -> Result<&mut [f32], i32> {
    let more = len.saturating_sub(buffer.len());
    buffer.try_reserve_exact(more).or(Err(NO_MEMORY))?;
    buffer.resize(buffer.len() + more, 0.0);
    Ok(&mut buffer[..len])
}

#[cfg(test)]
mod tests;
