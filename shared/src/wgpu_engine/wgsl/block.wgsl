// Rows of a pass whose scores are written out together.
struct Block { first_row: u32 }
//:if WITHOUT_CACHE
@group(1) @binding(0) var<uniform> block: Block;
//:else
@group(2) @binding(0) var<uniform> block: Block;
//:end
