#![no_main]

use libfuzzer_sys::fuzz_target;

const OTHER: &[u8] = b"s 1 500 10\ns.dat 16 200 16 0 0 0 0 I\n";

fuzz_target!(
    init: {
        purkinje_fuzz::write("s.hea", OTHER);
        for name in ["r.dat", "s.dat", "r.mat"] {
            purkinje_fuzz::write(name, &[7; 480]);
        }
    },
    |bytes: &[u8]| purkinje_fuzz::read("r.hea", bytes)
);
