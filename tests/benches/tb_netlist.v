// Prints what a board's design sends over its serial line, up to a number of lines.
module tb;
  parameter DIVISOR = 1;
  parameter LINES = 1;
  parameter LIMIT = 1;  // clock cycles

  reg clock = 0;
  wire line;
  top dut(.clk12_0__io(clock), .uart_0__tx__io(line), .led_0__io(), .led_1__io());
  always #1 clock = ~clock;

  reg [7:0] data;
  integer cycle = 0, timer = 0, bits = 0, lines = 0;
  always @(posedge clock) begin
    cycle <= cycle + 1;
    if (cycle == LIMIT) $finish;
    if (bits == 0) begin  // idle, until a start bit arrives
      if (!line) begin
        bits <= 10;
        timer <= DIVISOR / 2;
      end
    end else if (timer == 0) begin  // in the middle of a bit
      timer <= DIVISOR - 1;
      bits <= bits - 1;
      if (bits > 1) data <= {line, data[7:1]};
      else begin
        $write("%c", data);
        lines = lines + (data == "\n");
        if (lines == LINES) $finish;
      end
    end else timer <= timer - 1;
  end
endmodule
