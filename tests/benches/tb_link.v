// Plays a host that talks to tests/benches/link_board.py by what a file says, a command a line:
//   n NUMBER   an episode begins
//   a BYTE     this will be answered
//   s ENTRY    send a byte, or an error: bit 8
//   w CYCLES   wait until all has been answered, and then so long
//   r 0        reset
//   b VALUE    the core is busy, or not
//   t COUNT    it has been started so often
//   m BEAT     the next beat of memory, from the first on again after the last
// Numbers are hexadecimal. Ends with "alike", or with what differs.
module tb;
  parameter BEAT = 32;
  parameter BEATS = 1024;
  localparam LONGEST = 30000;  // cycles that an answer may take

  reg clk = 0, rst = 1, busy = 0, rx_valid = 0, tx_ready = 0;
  reg [8:0] rx = 0;
  reg [31:0] shown = 0, noise = 1;
  wire rx_ready, tx_valid;
  wire [7:0] tx;
  wire [15:0] starts;
  wire [BEAT - 1:0] beat;
  top dut(.clk(clk), .rst(rst), .busy(busy), .rx__payload(rx), .rx__valid(rx_valid),
          .rx__ready(rx_ready), .tx__payload(tx), .tx__valid(tx_valid), .tx__ready(tx_ready),
          .starts(starts), .shown(shown[$clog2(BEATS) - 1:0]), .beat(beat));

  reg [7:0] expected[0:65535];
  integer wanted = 0, got = 0, waited, episode = 0, cycles = 0;

  task fail(input [8 * 24 - 1:0] what);
    begin
      $display("episode %0d, answered byte %0d of %0d: %0s", episode, got, wanted, what);
      $finish;
    end
  endtask

  task tick;
    begin
      noise = {noise[30:0], noise[31] ^ noise[21] ^ noise[1] ^ noise[0]};
      tx_ready = noise[2:0] != 0;
      #1;
      if (tx_valid && tx_ready && !rst) begin
        if (got == wanted) fail("an answer too many");
        if (tx !== expected[got[15:0]]) fail("a wrong answer");
        got = got + 1;
      end
      clk = 1;
      #1 clk = 0;
      cycles = cycles + 1;
    end
  endtask

  reg [8 * 1024 - 1:0] name;
  reg [7:0] command;
  reg [BEAT - 1:0] value;
  integer file;
  initial begin
    if (!$value$plusargs("file=%s", name)) $fatal(1, "no +file=");
    file = $fopen(name, "r");
    if (file == 0) $fatal(1, "cannot open the file");
    repeat (2) tick;
    rst = 0;
    while ($fscanf(file, "%c %h\n", command, value) == 2)
      case (command)
        "n": episode = value;
        "a": begin
          expected[wanted[15:0]] = value[7:0];
          wanted = wanted + 1;
        end
        "s": begin
          rx = value[8:0];
          rx_valid = 1;
          tick;
          rx_valid = 0;
          if (noise[6:3] == 0) repeat (noise[9:7]) tick;
        end
        "w": begin
          waited = 0;
          while (got != wanted && waited < LONGEST) begin
            tick;
            waited = waited + 1;
          end
          if (got != wanted) fail("no answer");
          repeat (value) tick;
        end
        "r": begin
          rst = 1;
          repeat (2) tick;
          rst = 0;
        end
        "b": begin
          busy = value[0];
          repeat (2) tick;
        end
        "t": if (starts != value[15:0]) fail("another number of starts");
        "m": begin
          tick;
          if (beat !== value) fail("another memory");
          shown = shown == BEATS - 1 ? 0 : shown + 1;
        end
      endcase
    $display("%0d cycles alike", cycles);
    $finish;
  end
endmodule
