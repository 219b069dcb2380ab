#pragma once

// What tests tell the runtime, and ask of it.

extern "C" {

/// The call of this number from now on fails, and with `for_good` all that follow; 0 stands for
/// none.
void runtime_fail(long call, bool for_good);
/// Calls since `runtime_fail`.
long runtime_calls();
/// Copies and launches that no stream has been waited for since.
long runtime_under_way();
/// Graphs and their instances that have not been destroyed.
long runtime_graphs();
/// How often a graph has been launched.
long runtime_graph_launches();
/// Devices of compute capability 8.0, and the one that becomes current.
void runtime_devices(int count, int current);
int runtime_current_device();
}
