//! The end of the log cut off at any byte: what nobody was told about is forgotten, what is missing of the rest is refused.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::journal::HeadFile;
use crate::position::Head;

/// The one file of the database's log, when nothing was flushed yet.
fn log_file(dir: &Path) -> PathBuf {
    let files = fs::read_dir(dir.join("db")).unwrap().map(|entry| entry.unwrap().path());
    let mut logs: Vec<_> = files.filter(|path| path.extension().is_some_and(|is| is == "log")).collect();
    assert_eq!(logs.len(), 1, "{logs:?}");
    logs.remove(0)
}

fn copy_of(from: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    fs::create_dir(copy.path().join("db")).unwrap();
    for entry in fs::read_dir(from.join("db")).unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), copy.path().join("db").join(entry.file_name())).unwrap();
    }
    let (mut head_file, _) = HeadFile::open(&copy.path().join("HEAD")).unwrap();
    let (_, head) = HeadFile::open(&from.join("HEAD")).unwrap();
    head_file.write(&head, 1).unwrap();
    copy
}

/// A log of some links, its head after each of them, and how long the database's log was then.
fn written(dir: &Path) -> Vec<(Head, u64)> {
    let writer = open(dir);
    let write = |n| {
        one(&writer, put(&format!("link-{n}"), "https://a.example/", Precondition::NeverUsed));
        (writer.handle().commit().head, fs::metadata(log_file(dir)).unwrap().len())
    };
    (0..6).map(write).collect()
}

/// Has the HEAD file say that the journal had got to `head` and no further.
fn promise(dir: &Path, head: &Head) {
    fs::remove_file(dir.join("HEAD")).unwrap();
    let (mut file, _) = HeadFile::open(&dir.join("HEAD")).unwrap();
    file.write(head, 1).unwrap();
}

#[test]
fn a_log_cut_at_any_byte_behind_its_head_opens_at_the_last_whole_record_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let written = written(dir.path());
    let [.., (promised, from), (last, to)] = written[..] else { panic!() };
    promise(dir.path(), &promised);
    let whole = fs::read(log_file(dir.path())).unwrap();
    assert!(from < to && to <= whole.len() as u64);
    // Every byte near both ends of the record, and some in its middle.
    let cuts = (from..=to).filter(|cut| cut - from < 24 || to - cut < 24 || cut % 8 == 0);
    for cut in cuts {
        let copy = copy_of(dir.path());
        fs::write(log_file(copy.path()), &whole[..cut as usize]).unwrap();
        let writer = open(copy.path());
        let expected = if cut == to { last } else { promised };
        assert_eq!(writer.handle().commit().head, expected, "cut at {cut}");
        assert_eq!(target(&writer, "link-5").is_some(), cut == to, "cut at {cut}");
        assert!((0..5).all(|n| target(&writer, &format!("link-{n}")).is_some()), "cut at {cut}");
        // What was cut off was told to nobody: it may come, and be something else.
        let again = one(&writer, put("link-5", "https://b.example/", Precondition::Any));
        assert!(matches!(again, Decision::Applied { .. }), "{again:?}");
    }
}

#[test]
fn a_log_cut_at_any_byte_before_its_head_is_refused_with_what_to_do_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let written = written(dir.path());
    let (promised, end) = written[written.len() - 1];
    let whole = fs::read(log_file(dir.path())).unwrap();
    let near = written[written.len() - 2].1 - 3;
    // Everywhere in the last record, and here and there in those before.
    let cuts = (0..near).step_by(37).chain(near..end);
    for cut in cuts {
        let path = log_file(dir.path());
        fs::write(&path, &whole[..cut as usize]).unwrap();
        let refused = Writer::open(dir.path(), options()).err().unwrap();
        let OpenError::Lost { found, promised: said, .. } = &refused else { panic!("{refused}") };
        let kept = written.iter().rev().find(|(_, length)| *length <= cut).map(|(head, _)| *head);
        assert_eq!(*said, promised, "cut at {cut}");
        if let Some(kept) = kept {
            assert_eq!(*found, kept, "cut at {cut}");
        }
        let words = refused.to_string();
        for word in
            ["acknowledged changes are missing", "signpost-admin recover", "promote a standby", "backup"]
        {
            assert!(words.contains(word), "{words}");
        }
        assert_eq!(fs::metadata(&path).unwrap().len(), cut, "it is looked at, not repaired");
    }
    // With its end put back it is the log it was.
    fs::write(log_file(dir.path()), &whole).unwrap();
    assert_eq!(open(dir.path()).handle().commit().head, promised);
}
