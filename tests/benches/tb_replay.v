// Gives a netlist the inputs that were recorded of a unit, cycle by cycle, and compares outputs.
// Each line of the file: inputs, outputs, and the bits of the outputs that count, in hexadecimal.
module tb;
  parameter INPUTS = 1;
  parameter OUTPUTS = 1;

  reg [INPUTS - 1:0] inputs = 0;
  reg [OUTPUTS - 1:0] expected, counts;
  wire [OUTPUTS - 1:0] outputs;
  reg clock = 0;
  pins dut(.clock(clock), .inputs(inputs), .outputs(outputs));

  reg [8 * 1024 - 1:0] name;
  integer file, cycle = 0;
  initial begin
    if (!$value$plusargs("file=%s", name)) $fatal(1, "no +file=");
    file = $fopen(name, "r");
    if (file == 0) $fatal(1, "cannot open the file");
    while ($fscanf(file, "%h %h %h\n", inputs, expected, counts) == 3) begin
      #1;
      if (((outputs ^ expected) & counts) != 0) begin
        $display("cycle %0d: %h %h", cycle, outputs, (outputs ^ expected) & counts);
        $finish;
      end
      #1 clock = 1;
      #1 clock = 0;
      cycle = cycle + 1;
    end
    $display("%0d cycles alike", cycle);
    $finish;
  end
endmodule
