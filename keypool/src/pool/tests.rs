#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn codes(values: Range<u64>) -> Vec<Code7> {
    values.map(|value| Code7::new(value).unwrap()).collect()
}

fn request(id: u8, count: u32) -> LeaseRequest {
    LeaseRequest { request_id: [id; 16], holder: "admin-0".into(), epoch: 3, count }
}

fn pool(waiting: Range<u64>) -> Pool {
    let taken = waiting.end;
    Pool::new(PoolId([7; 16]), waiting, taken, 0, 0)
}

/// Leases from a stock in which serial and code number are the same.
fn lease(pool: &mut Pool, request: &LeaseRequest) -> Vec<Code7> {
    let picked = pool.pick(request, codes(pool.waiting()), |_| false).unwrap();
    pool.apply_lease(&picked);
    picked.codes
}

#[test]
fn leases_go_through_the_stock_in_order_and_count_up() {
    let mut pool = pool(0..10);
    assert_eq!(pool.answer(&request(1, 4)), Answer::Next);
    assert_eq!(lease(&mut pool, &request(1, 4)), codes(0..4));
    assert_eq!(lease(&mut pool, &request(2, 4)), codes(4..8));
    assert_eq!(lease(&mut pool, &request(3, 4)), codes(8..10));
    assert_eq!((pool.last_lease_number(), pool.unused()), (3, 0));
    assert_eq!(pool.answer(&request(4, 1)), Answer::Empty);
    pool.apply_stocked(11, 1);
    assert_eq!(pool.answer(&request(4, 1)), Answer::Next);
}

#[test]
fn a_repeated_request_is_given_the_same_lease_even_when_nothing_waits() {
    let mut pool = pool(0..4);
    lease(&mut pool, &request(1, 4));
    let Answer::Repeat(repeated) = pool.answer(&request(1, 4)) else { panic!("not repeated") };
    assert_eq!((repeated.number, repeated.serials), (1, 0..4));
    assert_eq!(pool.answer(&request(2, 1)), Answer::Empty);
}

#[test]
fn a_request_id_of_another_holder_or_epoch_is_refused() {
    let mut pool = pool(0..4);
    lease(&mut pool, &request(1, 2));
    assert_eq!(pool.answer(&LeaseRequest { holder: "admin-1".into(), ..request(1, 2) }), Answer::Stolen);
    assert_eq!(pool.answer(&LeaseRequest { epoch: 4, ..request(1, 2) }), Answer::Stolen);
}

#[test]
fn skipped_and_forbidden_codes_are_passed_over_and_made_up_for() {
    let mut pool = pool(0..10);
    pool.apply_skipped(codes(1..3));
    assert_eq!(pool.unused(), 8);
    let picked = pool.pick(&request(1, 3), codes(0..10), |code| code.value() == 4).unwrap();
    assert_eq!(picked.codes, [codes(0..1), codes(3..4), codes(5..6)].concat());
    assert_eq!((picked.lease.serials.clone(), &picked.lease.omitted[..]), (0..6, &[1, 2, 4][..]));
    assert_eq!(picked.passed_over, codes(1..3));
    pool.apply_lease(&picked);
    assert_eq!(pool.unused(), 4);
    assert_eq!(picked.lease.codes_of(&codes(0..6)), picked.codes);
}

#[test]
fn a_stock_of_skipped_codes_alone_gives_no_lease() {
    let mut pool = pool(0..3);
    pool.apply_skipped(codes(0..3));
    assert_eq!(pool.pick(&request(1, 2), codes(0..3), |_| false), None);
    assert_eq!(pool.unused(), 0);
}

#[test]
fn codes_are_kept_for_a_while_and_then_a_repeated_request_is_a_new_one() {
    let mut pool = pool(0..LEASED_CODES_KEPT + 10);
    lease(&mut pool, &request(1, 5));
    assert_eq!(pool.droppable_below(), 0);
    lease(&mut pool, &request(2, LEASED_CODES_KEPT as u32));
    assert_eq!(pool.droppable_below(), 5);
    pool.apply_dropping(5);
    assert_eq!(pool.answer(&request(1, 5)), Answer::Next);
    assert!(matches!(pool.answer(&request(2, 1)), Answer::Repeat(_)));
}

#[test]
fn the_book_forgets_the_oldest_lease_when_it_is_full() {
    let mut book = LeaseBook::default();
    let lease = |number: u64| Lease {
        number,
        request_id: u128::from(number % (LEASES_KEPT_MAX as u64 + 1)).to_le_bytes(),
        holder: String::new(),
        epoch: 0,
        serials: number..number + 1,
        omitted: vec![],
    };
    for number in 0..LEASES_KEPT_MAX as u64 {
        assert_eq!(book.evicted_by_next(), None);
        book.push(lease(number));
    }
    assert_eq!(book.evicted_by_next(), Some(0));
    book.push(lease(LEASES_KEPT_MAX as u64));
    assert_eq!(book.find(&lease(0).request_id), None);
    assert_eq!(book.find(&lease(1).request_id), Some(&lease(1)));
    // The forgotten request asks again: that is a lease of its own, and outlives the number it had.
    let again = lease(LEASES_KEPT_MAX as u64 + 1);
    assert_eq!(again.request_id, lease(0).request_id);
    book.push(again.clone());
    assert_eq!(book.find(&again.request_id), Some(&again));
    assert_eq!(book.find(&lease(1).request_id), None);
}

#[test]
fn a_lease_record_is_these_bytes() {
    let lease = Lease {
        number: 9,
        request_id: [0xab; 16],
        holder: "a-0".into(),
        epoch: 2,
        serials: 0x1000..0x1005,
        omitted: vec![1, 3],
    };
    let expected = [
        &[0xab; 16][..],
        &[2, 0, 0, 0],
        &[0, 0x10, 0, 0, 0, 0, 0, 0],
        &[5, 0x10, 0, 0, 0, 0, 0, 0],
        &[3, b'a', b'-', b'0'],
        &[1, 0, 0, 0, 3, 0, 0, 0],
    ]
    .concat();
    assert_eq!(lease.encode(), expected);
    assert_eq!(Lease::decode(9, &expected), Ok(lease));
}

proptest! {
    #[test]
    fn a_lease_record_reads_as_what_was_written(
        number: u64, request_id: [u8; 16], epoch: u32, start in 0..1u64 << 40, length in 1..1_000u64,
        holder in "[a-z0-9-]{0,64}", omitted in prop::collection::btree_set(0..1_000u32, 0..9),
    ) {
        let omitted = omitted.into_iter().filter(|omitted| u64::from(*omitted) < length).collect();
        let lease = Lease { number, request_id, holder, epoch, serials: start..start + length, omitted };
        prop_assert_eq!(Lease::decode(number, &lease.encode()), Ok(lease));
    }

    #[test]
    fn arbitrary_bytes_are_a_lease_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        if let Ok(lease) = Lease::decode(1, &bytes) {
            prop_assert_eq!(lease.encode(), bytes);
        }
    }

    /// Whatever happens in whatever order, no code is leased twice and none that was skipped.
    #[test]
    fn no_code_is_leased_twice(steps in prop::collection::vec((0..4u8, 1..40u32), 1..60)) {
        let mut pool = pool(0..0);
        let (mut leased, mut skipped) = (HashSet::new(), HashSet::new());
        for (index, (step, amount)) in steps.into_iter().enumerate() {
            match step {
                0 => pool.apply_stocked(pool.waiting().end + u64::from(amount), u64::from(amount)),
                1 => {
                    let code = codes(pool.waiting()).into_iter().nth(amount as usize);
                    pool.apply_skipped(code);
                    skipped.extend(code);
                }
                _ => {
                    let asked = request(index as u8, amount);
                    if let Some(picked) = pool.pick(&asked, codes(pool.waiting()), |_| false) {
                        pool.apply_lease(&picked);
                        for code in picked.codes {
                            prop_assert!(leased.insert(code) && !skipped.contains(&code));
                        }
                    }
                }
            }
        }
        let left = codes(pool.waiting()).into_iter().filter(|code| !skipped.contains(code)).count();
        prop_assert_eq!(pool.unused(), left as u64);
        prop_assert_eq!(pool.used(), pool.taken() - left as u64);
    }
}
