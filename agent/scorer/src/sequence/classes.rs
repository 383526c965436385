//! The system calls of 32-bit x86 by what they are about.

/// The class of a system call of 32-bit x86, by its number; 11 for one that is in no other.
pub const fn class_of_i386(call: u16) -> u16 {
    match call {
        // time
        13 | 25 | 27 | 43 | 78 | 79 | 104 | 105 | 162 | 258..=267 => 1,
        // waiting for something to happen
        29 | 82 | 142 | 158 | 168 | 240 | 254..=256 | 308 | 309 | 319 => 2,
        // signals
        48 | 67..=69 | 72 | 73 | 119 | 126 | 173..=179 | 186 => 3,
        // reading and writing
        3 | 4 | 19 | 140 | 145 | 146 | 180 | 181 | 187 | 239 | 333 | 334 => 4,
        // opening and looking at files
        5
        | 6
        | 8
        | 33
        | 41
        | 42
        | 54
        | 55
        | 63
        | 84
        | 85
        | 89
        | 106..=108
        | 141
        | 195..=197
        | 220
        | 221
        | 295
        | 300
        | 305
        | 307 => 5,
        // changing files and directories
        9
        | 10
        | 12
        | 14..=16
        | 21
        | 22
        | 30
        | 38..=40
        | 52
        | 61
        | 83
        | 92..=95
        | 133
        | 182
        | 194
        | 198
        | 207
        | 212
        | 296..=299
        | 301..=304
        | 306 => 6,
        // memory
        45 | 90 | 91 | 125 | 144 | 150..=153 | 163 | 192 | 218 | 219 | 243 | 257 => 7,
        // processes
        1 | 2 | 7 | 11 | 26 | 37 | 114 | 120 | 190 | 238 | 252 | 270 | 284 => 8,
        // who the process is
        23
        | 24
        | 46
        | 47
        | 49
        | 50
        | 57
        | 60
        | 64..=66
        | 70
        | 71
        | 80
        | 81
        | 132
        | 136
        | 138
        | 139
        | 147
        | 164
        | 165
        | 170
        | 171
        | 199..=206
        | 208..=211
        | 213..=216 => 9,
        // network
        102 => 10,
        _ => 11,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_a_class_and_known_ones_the_right_one() {
        assert!((0..=u16::MAX).all(|call| (1..=11).contains(&class_of_i386(call))));
        for (call, class) in [
            (3, 4),
            (5, 5),
            (11, 8),
            (102, 10),
            (265, 1),
            (192, 7),
            (213, 9),
        ] {
            assert_eq!(class_of_i386(call), class, "{call}");
        }
    }
}
