// Behavioural twins of the ECP5 blocks that yosys has no simulation models of, in the modes that
// Vernier's netlists use. Anything else is refused when the simulation is built or started.

// 18 x 18 multiplier; optional registers at its inputs and output, all on the same clock.
module MULT18X18D(
  input A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0,
  input B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0,
  input C17, C16, C15, C14, C13, C12, C11, C10, C9, C8, C7, C6, C5, C4, C3, C2, C1, C0,
  input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB, CLK0, CE0, RST0,
  output P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18,
    P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0
);
  parameter REG_INPUTA_CLK = "NONE", REG_INPUTA_CE = "CE0", REG_INPUTA_RST = "RST0";
  parameter REG_INPUTB_CLK = "NONE", REG_INPUTB_CE = "CE0", REG_INPUTB_RST = "RST0";
  parameter REG_OUTPUT_CLK = "NONE", REG_OUTPUT_CE = "CE0", REG_OUTPUT_RST = "RST0";
  parameter REG_PIPELINE_CLK = "NONE";

  wire signed [18:0] a = {SIGNEDA & A17, A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6,
    A5, A4, A3, A2, A1, A0};
  wire signed [18:0] b = {SIGNEDB & B17, B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6,
    B5, B4, B3, B2, B1, B0};

  reg signed [18:0] a_register = 0, b_register = 0;
  reg [35:0] p_register = 0;
  wire signed [18:0] a_used = REG_INPUTA_CLK == "NONE" ? a : a_register;
  wire signed [18:0] b_used = REG_INPUTB_CLK == "NONE" ? b : b_register;
  wire signed [37:0] product = a_used * b_used;
  always @(posedge CLK0)
    if (RST0) begin
      a_register <= 0;
      b_register <= 0;
      p_register <= 0;
    end else if (CE0) begin
      a_register <= a;
      b_register <= b;
      p_register <= product[35:0];
    end

  assign {P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19,
    P18, P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0} =
    REG_OUTPUT_CLK == "NONE" ? product[35:0] : p_register;

  wire known = {REG_INPUTA_CE, REG_INPUTB_CE, REG_OUTPUT_CE} == "CE0CE0CE0"
    && {REG_INPUTA_RST, REG_INPUTB_RST, REG_OUTPUT_RST} == "RST0RST0RST0"
    && REG_PIPELINE_CLK == "NONE"
    && (REG_INPUTA_CLK == "NONE" || REG_INPUTA_CLK == "CLK0")
    && (REG_INPUTB_CLK == "NONE" || REG_INPUTB_CLK == "CLK0")
    && (REG_OUTPUT_CLK == "NONE" || REG_OUTPUT_CLK == "CLK0");
  always @*
    if (!known || SOURCEA || SOURCEB) $fatal(1, "MULT18X18D in a mode without a twin");
endmodule

// Block memory of 2048 bytes of 9 bits with two ports. Of bits that the other port writes in the
// same cycle, a port reads the complement: a netlist must not depend on them.
module DP16KD(
  input DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4,
    DIA3, DIA2, DIA1, DIA0,
  input ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0,
  input CLKA, CEA, OCEA, WEA, RSTA, CSA0, CSA1, CSA2,
  output DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4,
    DOA3, DOA2, DOA1, DOA0,
  input DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4,
    DIB3, DIB2, DIB1, DIB0,
  input ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0,
  input CLKB, CEB, OCEB, WEB, RSTB, CSB0, CSB1, CSB2,
  output DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4,
    DOB3, DOB2, DOB1, DOB0
);
  parameter integer DATA_WIDTH_A = 18, DATA_WIDTH_B = 18;
  parameter REGMODE_A = "NOREG", REGMODE_B = "NOREG";
  parameter RESETMODE = "SYNC", ASYNC_RESET_RELEASE = "SYNC";
  parameter CSDECODE_A = "0b000", CSDECODE_B = "0b000";
  parameter CLKAMUX = "CLKA", CLKBMUX = "CLKB";
  parameter WRITEMODE_A = "NORMAL", WRITEMODE_B = "NORMAL";
  parameter GSR = "ENABLED";
  parameter [319:0] INITVAL_00 = 0, INITVAL_01 = 0, INITVAL_02 = 0, INITVAL_03 = 0, INITVAL_04 = 0,
    INITVAL_05 = 0, INITVAL_06 = 0, INITVAL_07 = 0, INITVAL_08 = 0, INITVAL_09 = 0,
    INITVAL_0A = 0, INITVAL_0B = 0, INITVAL_0C = 0, INITVAL_0D = 0, INITVAL_0E = 0,
    INITVAL_0F = 0, INITVAL_10 = 0, INITVAL_11 = 0, INITVAL_12 = 0, INITVAL_13 = 0,
    INITVAL_14 = 0, INITVAL_15 = 0, INITVAL_16 = 0, INITVAL_17 = 0, INITVAL_18 = 0,
    INITVAL_19 = 0, INITVAL_1A = 0, INITVAL_1B = 0, INITVAL_1C = 0, INITVAL_1D = 0,
    INITVAL_1E = 0, INITVAL_1F = 0, INITVAL_20 = 0, INITVAL_21 = 0, INITVAL_22 = 0,
    INITVAL_23 = 0, INITVAL_24 = 0, INITVAL_25 = 0, INITVAL_26 = 0, INITVAL_27 = 0,
    INITVAL_28 = 0, INITVAL_29 = 0, INITVAL_2A = 0, INITVAL_2B = 0, INITVAL_2C = 0,
    INITVAL_2D = 0, INITVAL_2E = 0, INITVAL_2F = 0, INITVAL_30 = 0, INITVAL_31 = 0,
    INITVAL_32 = 0, INITVAL_33 = 0, INITVAL_34 = 0, INITVAL_35 = 0, INITVAL_36 = 0,
    INITVAL_37 = 0, INITVAL_38 = 0, INITVAL_39 = 0, INITVAL_3A = 0, INITVAL_3B = 0,
    INITVAL_3C = 0, INITVAL_3D = 0, INITVAL_3E = 0, INITVAL_3F = 0;

  wire [64 * 320 - 1:0] initial_contents = {INITVAL_3F, INITVAL_3E, INITVAL_3D, INITVAL_3C,
    INITVAL_3B, INITVAL_3A, INITVAL_39, INITVAL_38, INITVAL_37, INITVAL_36, INITVAL_35,
    INITVAL_34, INITVAL_33, INITVAL_32, INITVAL_31, INITVAL_30, INITVAL_2F, INITVAL_2E,
    INITVAL_2D, INITVAL_2C, INITVAL_2B, INITVAL_2A, INITVAL_29, INITVAL_28, INITVAL_27,
    INITVAL_26, INITVAL_25, INITVAL_24, INITVAL_23, INITVAL_22, INITVAL_21, INITVAL_20,
    INITVAL_1F, INITVAL_1E, INITVAL_1D, INITVAL_1C, INITVAL_1B, INITVAL_1A, INITVAL_19,
    INITVAL_18, INITVAL_17, INITVAL_16, INITVAL_15, INITVAL_14, INITVAL_13, INITVAL_12,
    INITVAL_11, INITVAL_10, INITVAL_0F, INITVAL_0E, INITVAL_0D, INITVAL_0C, INITVAL_0B,
    INITVAL_0A, INITVAL_09, INITVAL_08, INITVAL_07, INITVAL_06, INITVAL_05, INITVAL_04,
    INITVAL_03, INITVAL_02, INITVAL_01, INITVAL_00};

  reg [8:0] bytes [0:2047];
  integer at;
  initial for (at = 0; at < 2048; at = at + 1)
    bytes[at] = initial_contents[20 * (at / 2) + 9 * (at % 2) +: 9];

  wire [13:0] address_a = {ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3,
    ADA2, ADA1, ADA0};
  wire [17:0] in_a = {DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7,
    DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0};
  wire [13:0] address_b = {ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3,
    ADB2, ADB1, ADB0};
  wire [17:0] in_b = {DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7,
    DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0};

  wire [35:0] data_a = DATA_WIDTH_A == 36 ? {in_b, in_a} : {18'd0, in_a};
  wire [35:0] data_b = {18'd0, in_b};
  wire write_a = CEA && WEA && !RSTA;
  wire write_b = CEB && WEB && !RSTB;

  // First of the bytes at an address, and how many they are.
  function [10:0] first(input integer width, input [13:0] address);
    case (width)
      36: first = {address[13:5], 2'b00};
      18: first = {address[13:4], 1'b0};
      default: first = address[13:3];
    endcase
  endfunction
  function integer count(input integer width);
    count = width > 9 ? width / 9 : 1;
  endfunction

  // Bits of a byte that a narrow word is.
  function integer low(input integer width, input [13:0] address);
    case (width)
      1: low = address[2:0];
      2: low = 2 * address[2:1];
      4: low = 4 * address[2];
      default: low = 0;
    endcase
  endfunction

  // Bits of a byte that a port writes.
  function [8:0] written(input integer width, input [13:0] address, input [10:0] place);
    integer offset;
    begin
      offset = place - first(width, address);
      written = 0;
      if (offset >= 0 && offset < count(width) && (width <= 9 || address[offset]))
        written = width < 9 ? ((1 << width) - 1) << low(width, address) : 9'h1ff;
    end
  endfunction

  reg [35:0] out_a = 0, out_b = 0;
  reg [35:0] read_a, read_b;
  integer n, bit_a, bit_b;
  always @* begin
    read_a = 0;
    read_b = 0;
    for (n = 0; n < count(DATA_WIDTH_A); n = n + 1)
      read_a[9 * n +: 9] = bytes[first(DATA_WIDTH_A, address_a) + n]
        ^ ({9{write_b}} & written(DATA_WIDTH_B, address_b, first(DATA_WIDTH_A, address_a) + n));
    for (n = 0; n < count(DATA_WIDTH_B); n = n + 1)
      read_b[9 * n +: 9] = bytes[first(DATA_WIDTH_B, address_b) + n]
        ^ ({9{write_a}} & written(DATA_WIDTH_A, address_a, first(DATA_WIDTH_B, address_b) + n));
  end


  always @(posedge (CLKA ^ (CLKAMUX == "INV"))) begin
    if (write_a)
      for (bit_a = 0; bit_a < DATA_WIDTH_A; bit_a = bit_a + 1)
        if (DATA_WIDTH_A <= 9 || address_a[bit_a / 9])
          bytes[first(DATA_WIDTH_A, address_a) + bit_a / 9]
               [low(DATA_WIDTH_A, address_a) + bit_a % 9] <= data_a[bit_a];
    if (RSTA) out_a <= 0;
    else if (CEA && (!WEA || WRITEMODE_A == "READBEFOREWRITE"))
      out_a <= read_a >> low(DATA_WIDTH_A, address_a);
  end

  always @(posedge (CLKB ^ (CLKBMUX == "INV"))) begin
    if (write_b)
      for (bit_b = 0; bit_b < DATA_WIDTH_B; bit_b = bit_b + 1)
        if (DATA_WIDTH_B <= 9 || address_b[bit_b / 9])
          bytes[first(DATA_WIDTH_B, address_b) + bit_b / 9]
               [low(DATA_WIDTH_B, address_b) + bit_b % 9] <= data_b[bit_b];
    if (RSTB) out_b <= 0;
    else if (CEB && (!WEB || WRITEMODE_B == "READBEFOREWRITE"))
      out_b <= read_b >> low(DATA_WIDTH_B, address_b);
  end

  assign {DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5,
    DOA4, DOA3, DOA2, DOA1, DOA0} = DATA_WIDTH_B == 36 ? out_b[17:0] : out_a[17:0];
  assign {DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5,
    DOB4, DOB3, DOB2, DOB1, DOB0} = DATA_WIDTH_B == 36 ? out_b[35:18] : out_b[17:0];

  // Without a reset it does not matter how one would be done.
  wire known = {REGMODE_A, REGMODE_B} == "NOREGNOREG"
    && (RESETMODE == "SYNC" || (RESETMODE == "ASYNC" && !RSTA && !RSTB))
    && {CSDECODE_A, CSDECODE_B} == "0b0000b000"
    && (WRITEMODE_A == "NORMAL" || WRITEMODE_A == "READBEFOREWRITE")
    && (WRITEMODE_B == "NORMAL" || WRITEMODE_B == "READBEFOREWRITE");
  always @*
    if (!known || CSA0 || CSA1 || CSA2 || CSB0 || CSB1 || CSB2 || (CEB && !OCEB))
      $fatal(1, "DP16KD in a mode without a twin");
endmodule
