// SPDX-License-Identifier: Apache-2.0
#include "cli/placement_report.h"

#include "program/group_places.h"

#include <utility>

namespace orrery::cli {

void add_placement(Report& report, const Plan& plan) {
  Table table{.columns = {{"dimension", "dimension"},
                          {"ranks", "ranks"},
                          {"node", "groups in a node"},
                          {"rail", "below a leaf"},
                          {"spine", "across leaves"},
                          {"domains", "nodes of a group"},
                          {"rails", "its rails"}},
              .rows = {}};
  bool needs_network = false;
  for (const GroupPlaces& at : group_places(plan)) {
    needs_network = needs_network || at.num_domains > 1;
    table.rows.push_back({at.dimension, at.num_ranks, at.on_node, at.on_rail, at.on_spine, at.num_domains,
                          at.num_rails > 0 ? Value(at.num_rails) : Value::unknown("-")});
  }
  if (needs_network) report.table("placement", "Where groups lie", std::move(table));
}

}  // namespace orrery::cli
