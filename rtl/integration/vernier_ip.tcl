# Not run in Vivado: packages vernier_axi4.v, which lies beside this script, as an IP.
# SPDX-License-Identifier: Apache-2.0
#
#     vivado -mode batch -source vernier_ip.tcl [-tclargs PART]
#
# The IP is made in the folder ip, to be added to the IP repositories of a project. Its interfaces are
# S_AXI_CONTROL, M_AXI, aclk, aresetn and irq, as attributes in the Verilog have them; a block design
# can also take the Verilog itself, as a module reference.

set here [file dirname [file normalize [info script]]]
set part [expr {$argc > 0 ? [lindex $argv 0] : "xc7z020clg400-1"}]
file mkdir $here/ip
file copy -force $here/vernier_axi4.v $here/ip

create_project -in_memory -part $part
read_verilog $here/ip/vernier_axi4.v
set_property top vernier_axi4 [current_fileset]
ipx::package_project -root_dir $here/ip -vendor vernier -library vernier -taxonomy /UserIP \
    -import_files -force
set core [ipx::current_core]
set_property name vernier_axi4 $core
set_property version 1.0 $core
set_property display_name "Vernier" $core
set_property description "A core that runs Vision Transformers" $core

foreach name {S_AXI_CONTROL M_AXI aclk aresetn irq} {
    if {[llength [ipx::get_bus_interfaces $name -of_objects $core]] == 0} {
        error "the interface $name was not inferred from the attributes of vernier_axi4.v"
    }
}

# The registers take a page.
set map [lindex [ipx::get_memory_maps -of_objects $core] 0]
if {$map eq ""} {
    set map [ipx::add_memory_map S_AXI_CONTROL $core]
    set_property slave_memory_map_ref S_AXI_CONTROL \
        [ipx::get_bus_interfaces S_AXI_CONTROL -of_objects $core]
    ipx::add_address_block reg0 $map
}
set block [lindex [ipx::get_address_blocks -of_objects $map] 0]
set_property range 4096 $block
set_property usage register $block

ipx::create_xgui_files $core
ipx::update_checksums $core
ipx::check_integrity $core
ipx::save_core $core
