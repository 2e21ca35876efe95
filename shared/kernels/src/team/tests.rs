use std::sync::Condvar;
use std::time::Duration;

use candle_core::{DType, Device, Tensor};

use super::*;
use crate::{BlockMatrix, ops, quantize};

/// A board of this process: one lock around all of it.
#[derive(Clone)]
struct Here(Arc<(Mutex<Vec<u8>>, Condvar)>);

impl Here {
    fn new(x: usize, out: usize) -> Self {
        Self(Arc::new((Mutex::new(vec![0; board_bytes(x, out)]), Condvar::new())))
    }

    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.0.lock().expect("nobody panics with it")
    }
}

fn word(bytes: &[u8], word: usize) -> i32 {
    i32::from_le_bytes(bytes[word * 4..word * 4 + 4].try_into().expect("four bytes"))
}

impl Board for Here {
    fn size(&self) -> usize {
        self.bytes().len()
    }

    fn load(&self, index: usize) -> i32 {
        word(&self.bytes(), index)
    }

    fn store(&self, word: usize, value: i32) {
        self.write(word * 4, &value.to_le_bytes());
        self.0.1.notify_all();
    }

    fn wait(&self, index: usize, value: i32, most_ms: f64) -> bool {
        let bytes = self.bytes();
        if word(&bytes, index) != value {
            return true;
        }
        // Woken by whatever is written.
        let waited = self.0.1.wait_timeout(bytes, Duration::from_secs_f64(most_ms.min(1e6) / 1e3));
        !waited.expect("nobody panics with it").1.timed_out()
    }

    fn read(&self, at: usize, into: &mut [u8]) {
        into.copy_from_slice(&self.bytes()[at..at + into.len()]);
    }

    fn write(&self, at: usize, from: &[u8]) {
        self.bytes()[at..at + from.len()].copy_from_slice(from);
    }

    fn pages(&self) -> i32 {
        7
    }
}

/// On one thread, as an instance without threads of its own computes: others would share out a matrix once more.
fn alone<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread").install(work)
}

/// Runs `work` with a team of so many threads; it returns when all hands are gone.
fn with_team(board: &Here, threads: usize, work: impl FnOnce(Arc<Team>) + Send) {
    std::thread::scope(|scope| {
        for hand in 1..threads {
            scope.spawn(move || alone(|| serve(board, hand)));
        }
        alone(|| work(Arc::new(Team::new(Box::new(board.clone()), threads))));
    });
}

fn matrix(form: Form, rows: usize, columns: usize) -> Weight {
    let values: Vec<f32> = (0..rows * columns).map(|i| (i as f32 * 0.37).sin()).collect();
    match form {
        Form::Plain(precision) => {
            let dtype = [DType::F32, DType::BF16, DType::F16][precision as usize];
            let wide = Tensor::from_vec(values, (rows, columns), &Device::Cpu);
            Weight::Plain(wide.and_then(|wide| wide.to_dtype(dtype)).expect("a shape"))
        }
        Form::Blocks(format) => {
            let mut bytes = vec![0; values.len() / crate::BLOCK * format.bytes()];
            quantize(format, &values, &mut bytes);
            Weight::Blocks(Arc::new(BlockMatrix { format, rows, columns, bytes }))
        }
    }
}

fn product(weight: &Weight, x: &Tensor, count: usize, precision: Precision) -> candle_core::Result<Vec<f32>> {
    let (rows, columns) = weight.dims()?;
    let out = Tensor::zeros(count * rows, DType::F32, &Device::Cpu)?;
    let mut panel = vec![0.0; crate::parallel::threads() * columns * 5];
    ops::linear(&out, x, weight, count, precision, &mut panel)?;
    out.to_vec1()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Each format, one row and many, rows that do not divide and too few for every hand, pieces smaller than a matrix.
#[test]
fn a_team_finds_what_one_thread_finds_to_the_bit() {
    let mut wrong = Vec::new();
    for threads in [1, 2, 3, MOST_THREADS] {
        let board = Here::new(40 * 96, 40 * 133);
        with_team(&board, threads, |team| {
            for form in Form::ALL {
                for (rows, columns) in [(133, 96), (64, 32), (9, 64), (3, 32)] {
                    let whole = matrix(form, rows, columns);
                    let shared = team.share(whole.clone()).expect("memory");
                    assert_eq!(shared.dims().expect("a matrix"), (rows, columns));
                    assert_eq!((shared.bytes(), shared.form()), (whole.bytes(), form));
                    for count in [1, 3, 8, 40] {
                        let x: Vec<f32> = (0..count * columns).map(|i| (i as f32 * 0.53).cos()).collect();
                        let x = Tensor::new(x, &Device::Cpu).expect("values");
                        let expected = product(&whole, &x, count, Precision::F32).expect("a product");
                        let found = product(&shared, &x, count, Precision::F32).expect("a product");
                        if bits(&found) != bits(&expected) {
                            wrong.push(format!("{form:?} {rows}x{columns} by {count}, {threads} threads"));
                        }
                    }
                    let [mut expected, mut found] = [vec![0.0; columns], vec![1.0; columns]];
                    for row in 0..rows {
                        whole.widen_row(row, &mut expected).expect("a row");
                        shared.widen_row(row, &mut found).expect("a row");
                        assert_eq!(bits(&found), bits(&expected), "{form:?} row {row}");
                    }
                }
            }
            assert_eq!(team.hand_bytes(), 7 * PAGE * (threads as u64 - 1));
        });
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_hand_that_is_lost_is_told() {
    // Nobody serves.
    let mut team = Team::new(Box::new(Here::new(64, 64)), 2);
    team.patience_ms = 1.0;
    let team = Arc::new(team);
    let share = || team.share(matrix(Form::Plain(Precision::F32), 16, 32)).map(|_| ());
    let lost = share();
    assert!(matches!(lost, Err(TeamError::Lost)), "{lost:?}");
    // Told at once from then on, though it would serve again: what it held may be gone.
    let board = team.board.load(word_of(1));
    team.board.store(word_of(1), board + 2);
    let lost = share();
    assert!(matches!(lost, Err(TeamError::Lost)), "{lost:?}");
}

#[test]
fn a_hand_that_ends_is_told_at_once() {
    let board = Here::new(64, 64);
    let mut team = Team::new(Box::new(board.clone()), 2);
    // Whoever waits for it would wait for good.
    team.patience_ms = f64::INFINITY;
    let (word, value) = lost(1);
    board.store(word, value);
    let lost = Arc::new(team).share(matrix(Form::Plain(Precision::F32), 16, 32)).map(|_| ());
    assert!(matches!(lost, Err(TeamError::Lost)), "{lost:?}");
}

/// Hands that work while whoever asks writes the number of a command: a team on one thread.
#[derive(Clone)]
struct Inline {
    here: Here,
    hands: Arc<Mutex<Vec<Hand>>>,
}

impl Board for Inline {
    fn size(&self) -> usize {
        self.here.size()
    }
    fn load(&self, word: usize) -> i32 {
        self.here.load(word)
    }
    fn store(&self, word: usize, value: i32) {
        self.here.store(word, value);
        if word == TURN {
            self.hands.lock().expect("one thread").iter_mut().for_each(|hand| {
                hand.obey(&self.here);
            });
        }
    }
    fn wait(&self, _: usize, _: i32, _: f64) -> bool {
        false
    }
    fn read(&self, at: usize, into: &mut [u8]) {
        self.here.read(at, into);
    }
    fn write(&self, at: usize, from: &[u8]) {
        self.here.write(at, from);
    }
    fn pages(&self) -> i32 {
        self.here.pages()
    }
}

#[test]
fn what_is_dropped_is_held_no_more() {
    let board = Inline { here: Here::new(64, 64), hands: Arc::new(Mutex::new(vec![Hand::new(1)])) };
    let held = || board.hands.lock().expect("one thread")[0].matrices.len();
    let team = Arc::new(Team::new(Box::new(board.clone()), 2));
    let weight = team.share(matrix(Form::Plain(Precision::F32), 64, 32)).expect("memory");
    let other = team.share(matrix(Form::Plain(Precision::F32), 64, 32)).expect("memory");
    let copy = weight.clone();
    assert_eq!(held(), 2);
    drop(weight);
    assert_eq!(held(), 2);
    drop(copy);
    assert_eq!(held(), 1);
    drop(other);
    assert_eq!(held(), 0);
}

#[test]
fn a_hand_without_memory_says_so() {
    with_team(&Here::new(64, 64), 2, |team| {
        let hold = Ask::Hold { hand: 1, id: 9, form: 0, rows: 1 << 30, columns: 1 << 30, before: 0 };
        let refused = team.ask(&mut team.talk(), hold);
        assert!(matches!(refused, Err(TeamError::OutOfMemory(_))), "{refused:?}");
        // It goes on.
        team.share(matrix(Form::Plain(Precision::F32), 64, 32)).expect("memory");
    });
}
