//! Vectors that others published, and properties, for `siphash`.

use super::*;

// The reference implementation's outputs for key 00..0f and inputs of 0 to 15 bytes 00, 01, ..
#[test]
fn reference_outputs() {
    let key = std::array::from_fn(|i| i as u8);
    let input: [u8; 16] = key;
    for (len, want) in [
        0x726f_db47_dd0e_0e31,
        0x74f8_39c5_93dc_67fd,
        0x0d6c_8009_d9a9_4f5a,
        0x8567_6696_d7fb_7e2d,
        0xcf27_94e0_2771_87b7,
        0x1876_5564_cd99_a68d,
        0xcbc9_466e_58fe_e3ce,
        0xab02_00f5_8b01_d137,
        0x93f5_f579_9a93_2462,
        0x9e00_82df_0ba9_e4b0,
        0x7a5d_bbc5_94dd_b9f3,
        0xf4b3_2f46_226b_ada7,
        0x751e_8fbc_860e_e5fb,
        0x14ea_5627_c084_3d90,
        0xf723_ca90_8e7a_f2ee,
        0xa129_ca61_49be_45e5,
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(siphash24(&key, &input[..len]), want, "{len} bytes");
    }
}

#[test]
fn each_mask_is_the_low_half_of_the_next_iv() {
    let key = std::array::from_fn(|i| i as u8);
    let iv = [0, 1, 2, 3, 4, 5, 6, 7];
    let mut mask = LengthMask::new(key, iv);
    // The reference output for eight bytes 00..07.
    assert_eq!(mask.next(), 0x2462);
    let second = siphash24(&key, &0x93f5_f579_9a93_2462_u64.to_le_bytes());
    assert_eq!(mask.next(), second as u16);

    let mut half = [0xee; 32];
    half[..16].copy_from_slice(&key);
    half[16..24].copy_from_slice(&iv);
    assert_eq!(LengthMask::from_half(&super::super::Secret::new(half)).next(), 0x2462);
}
