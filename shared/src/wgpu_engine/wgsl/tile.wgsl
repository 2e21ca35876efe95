// Hands on the results of a tile that are inside.
//:for i M
    let row$i = m0 + down + $iu * DOWN;
    if (row$i < step.rows) {
//:if SILU
//:for j PAIRS
        if (n0 + column($[2j]u, across) < part.rows) {
            put2(row$i, part.first_row + n0 + column($[2j]u, across), sum$i_$[2j], sum$i_$[2j+1]);
        }
//:end
//:else
//:for j N
        if (n0 + column($ju, across) < part.rows) {
            put(row$i, part.first_row + n0 + column($ju, across), sum$i_$j);
        }
//:end
//:end
    }
//:end
