// SPDX-License-Identifier: Apache-2.0
// What NCCL's algorithms and protocols make of collectives that were not measured, against times that others measured,
// and what tables of measured ones are made of. No collective is faster than its links.
#include "costmodel/collective_fit.h"
#include "costmodel/collective_model.h"
#include "program/work.h"
#include "tests/conformance/programs.h"

#include <string>

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

using testing::small_cluster;

constexpr auto kReduce = CollectiveKind::all_reduce, kGather = CollectiveKind::all_gather,
               kScatter = CollectiveKind::reduce_scatter, kExchange = CollectiveKind::all_to_all;

std::string repository_file(const std::string& path) { return std::string(ORRERY_SOURCE_DIR) + "/" + path; }

Calibration table(const std::string& device) {
  return read_calibration(repository_file("catalog/calibration/tables/" + device + ".json"));
}

/// Nodes of eight devices of the catalog with eight NICs, under one leaf.
Cluster servers(const std::string& device, std::int64_t num_nodes, const std::string& kind, double node, double nic) {
  const std::string text = fmt::format(
      R"({{"schema": "cluster/1", "groups": [{{"name": "test", "nodes": {}, "devices_per_node": 8, "device": "{}",
           "scale_up": {{"kind": "{}", "span_nodes": 1, "per_device": "{} GB/s", "latency": "3 us"}},
           "nics": {{"per_node": 8, "each": "{} GB/s", "rails": 8, "latency": "3 us"}},
           "host": {{"pcie": null, "memory": null}}}}],
         "fabric": {{"kind": "fat_tree", "nodes_per_leaf": 64, "oversubscription": 1.0, "planes": 1}},
         "gateways": [], "price": null, "pue": null, "carbon_intensity": null, "failures": null}})",
      num_nodes, device, kind, node, nic);
  return read_cluster_text(text, "test", repository_file("catalog"));
}

/// The first `per_node` devices of each of the nodes.
std::vector<DeviceIndex> members(std::int64_t num_nodes, std::int64_t per_node) {
  std::vector<DeviceIndex> out;
  for (std::int64_t node = 0; node < num_nodes; ++node) {
    for (std::int64_t i = 0; i < per_node; ++i) out.emplace_back(static_cast<int>(node * 8 + i));
  }
  return out;
}

CollectiveShape shape(CollectiveKind kind, double size) {
  return {.kind = kind, .group = Group::dp, .bytes = static_cast<std::int64_t>(size)};
}

double microseconds_of(const CommTime& time) { return time.alone().in(unit::microsecond); }

TEST(CollectiveAlgorithms, ReproduceTheTableWithinANode) {
  for (const std::string device : {"a100", "h100", "b200"}) {
    const Calibration calibration = table(device);
    const double port = calibration.conditions.links.at("node").in(unit::gigabytes_per_second);
    const CollectiveModel model(servers(device, 1, "nvlink", port, 50), calibration);
    for (const CollectiveMeasurement& point : calibration.collectives) {
      if (point.bytes < mib(1)) continue;  // start-ups are one line over all group sizes
      const auto kind = point.op == "all_reduce"   ? kReduce
                        : point.op == "all_gather" ? kGather
                        : point.op == "all_to_all" ? kExchange
                                                   : kScatter;
      const CommTime got = model.collective(shape(kind, point.bytes.in(unit::byte)), members(1, point.ranks));
      // Where NVLS moved more than a ring could, the port's rate remains: never faster than the links.
      EXPECT_NEAR(got.alone() / point.time, 1.0, 0.08) << device << " " << point.op << " " << point.ranks;
    }
  }
}

// nccl-tests of all-reduce over nodes, large messages, that no table of the catalog has. Two nodes exchange a buffer
// once (NVLSTree), where a ring would send it nearly twice.
TEST(CollectiveAlgorithms, MeetPublishedTimesOverNodes) {
  struct Published {
    const char* device;
    std::int64_t num_nodes;
    double node, nic, size, microseconds, tolerance;
  };
  for (const Published& p : {
           // oci-hpc@b5285a6 documentation/Troubleshooting.md: 2 x 8 H100, RoCE, NCCL 2.23.4
           Published{"h100", 2, 450, 50, 0x1p30, 4478.8, 0.06},
           Published{"h100", 2, 450, 50, 0x1p33, 34280.0, 0.04},
           // awsome-distributed-training@7217859 micro-benchmarks/nccl-tests: 2 x p5, 2 x p4de (a NIC for two devices)
           Published{"h100", 2, 450, 50, 0x1p33, 33605.0, 0.04},
           Published{"a100", 2, 300, 6.25, 0x1p28, 7201.7, 0.06},
           Published{"a100", 2, 300, 6.25, 0x1p30, 26217.0, 0.07},
           // ml-engineering@744d01e network/README.md: 4 x p6-b200, 381.8 GB/s
           Published{"b200", 4, 900, 50, 0x1p34, 87187.0, 0.15},
       }) {
    const CollectiveModel model(servers(p.device, p.num_nodes, "nvlink", p.node, p.nic), table(p.device));
    const CommTime got = model.collective(shape(kReduce, p.size), members(p.num_nodes, 8));
    EXPECT_NEAR(microseconds_of(got) / p.microseconds, 1.0, p.tolerance) << p.device << " " << p.size;
    EXPECT_TRUE(got.extrapolated);
  }
}

// coreweave/nccl-tests@cb86553 README.md: GB200 NVL72, one rack and two, NCCL 2.26.2. The table is that of eight B200.
TEST(CollectiveAlgorithms, MeetPublishedTimesOfRacks) {
  Cluster cluster = servers("gb200", 36, "nvlink", 900, 50);
  cluster.groups[0].devices_per_node = cluster.groups[0].nics->per_node = 4;
  cluster.groups[0].scale_up.span_nodes = 18;
  const CollectiveModel model(cluster, table("gb200"));
  const auto among = [&](std::int64_t ranks, double size) {
    std::vector<DeviceIndex> all;
    for (std::int64_t i = 0; i < ranks; ++i) all.emplace_back(static_cast<int>(i));
    return microseconds_of(model.collective(shape(kReduce, size), all));
  };
  EXPECT_NEAR(among(72, 0x1p29) / 1806.7, 1.0, 0.21);
  EXPECT_NEAR(among(72, 0x1p33) / 20299.0, 1.0, 0.11);
  EXPECT_NEAR(among(144, 0x1p31) / 6264.0, 1.0, 0.10);
  EXPECT_NEAR(among(144, 0x1p34) / 42067.0, 1.0, 0.07);
}

// 2 x p5 again, small messages, which wait for the network: EFA's hop is not stated, so the bound is one-sided, and
// loose. Without NCCL's protocols the second was 127 us.
TEST(CollectiveAlgorithms, StartSlowlyOverNodes) {
  const CollectiveModel model(servers("h100", 2, "nvlink", 450, 50), table("h100"));
  for (const auto& [size, measured] : {std::pair{8.0, 69.1}, {0x1p20, 123.2}, {0x1p24, 298.1}, {0x1p26, 601.5}}) {
    const double got = microseconds_of(model.collective(shape(kReduce, size), members(2, 8)));
    EXPECT_LT(got, measured);
    EXPECT_GT(got, 0.35 * measured) << size;
  }
}

TEST(CollectiveAlgorithms, TakeNcclsStartWhereNothingWasMeasured) {
  Cluster cluster = small_cluster(4, 2);
  cluster.groups[0].device.peak[DType::bf16] = FlopsPerSecond::from_si(1e12);
  const std::vector<DeviceIndex> all = {DeviceIndex(0), DeviceIndex(1), DeviceIndex(2), DeviceIndex(3),
                                        DeviceIndex(4), DeviceIndex(5), DeviceIndex(6), DeviceIndex(7)};
  const auto start = [&](const Calibration& calibration, CollectiveKind kind) {
    return CollectiveModel(cluster, calibration).collective(shape(kind, 8), all).latency.in(unit::microsecond);
  };
  // Tree, LL: 6.8 + 2 (0.6 + 2 * 5.0). Ring, LL: 6.6 + 4 steps of a proxy's 1.0, 3 of the network's 2.7.
  EXPECT_NEAR(start({}, kReduce), 28.0, 1e-9);
  EXPECT_NEAR(start({}, kGather), 18.7, 1e-9);
  // Two ranks of a node were measured to start 4 us later than NCCL says of them: 6.8 + 2 * 0.6 = 8, by tree, 7.8 by
  // ring.
  Calibration measured;
  measured.collectives.push_back({.op = "all_reduce",
                                  .path = "node",
                                  .ranks = 2,
                                  .bytes = bytes(8),
                                  .time = microseconds(11.8),
                                  .source = "test"});
  EXPECT_NEAR(start(measured, kReduce), 32.0, 1e-3);
  // A network that is slower than the tables' adds to each hop, and to those of the rest of the tree.
  cluster.groups[0].nics->latency = microseconds(15);
  EXPECT_NEAR(start({}, kReduce), 28.0 + 2 * 2 * 10.0, 1e-9);
}

TEST(CollectiveAlgorithms, StartMessagesAsOneStepOfARing) {
  const CollectiveModel model(small_cluster(2, 2), {});
  const auto latency = [&](std::int64_t size, int to) {
    return model.peer({.bytes = size}, DeviceIndex(0), DeviceIndex(to)).latency.in(unit::microsecond);
  };
  EXPECT_NEAR(latency(8, 1), 6.6 + 0.6, 1e-9);
  EXPECT_NEAR(latency(8, 2), 6.6 + 5.0, 1e-9);
  EXPECT_NEAR(latency(1 << 30, 1), 8.4 + 3.4, 1e-9);
  EXPECT_NEAR(latency(1 << 30, 2), 8.4 + 14.0, 1e-9);
}

// all-reduce and all-gather of 512 MiB among GCDs of a node of MI250, RCCL (microsoft/nnscaler@1585c15
// resources/profile/mi200/comm): two share a module, four have the worst links between modules, sixteen the most.
TEST(CollectiveAlgorithms, AssumeNoOrderAmongGroupSizes) {
  Cluster cluster = small_cluster(1, 16);
  cluster.groups[0].device.kind = DeviceKind::hip;
  cluster.groups[0].scale_up.kind = ScaleUpKind::xgmi;
  cluster.groups[0].scale_up.per_device = bytes_per_second(200e9);
  Calibration calibration;
  calibration.conditions.links = {{"node", bytes_per_second(200e9)}};
  const std::map<std::int64_t, double> measured = {{2, 4711.2}, {4, 25483.2}, {8, 13917.4}, {16, 5467.0}};
  for (const auto& [ranks, time] : measured) {
    calibration.collectives.push_back({.op = "all_reduce",
                                       .path = "node",
                                       .ranks = ranks,
                                       .bytes = mib(512),
                                       .time = microseconds(time),
                                       .source = "nnscaler"});
  }
  const CollectiveModel model(cluster, calibration);
  const auto among = [&](std::int64_t ranks) {
    std::vector<DeviceIndex> group;
    for (std::int64_t i = 0; i < ranks; ++i) group.emplace_back(static_cast<int>(i));
    return model.collective(shape(kReduce, 0x1p29), group);
  };
  for (const auto& [ranks, time] : measured) EXPECT_NEAR(microseconds_of(among(ranks)) / time, 1.0, 1e-4) << ranks;
  EXPECT_GT(microseconds_of(among(5)), 20000.0);  // as four, its nearest
  EXPECT_TRUE(among(5).extrapolated);
}

constexpr double kSizes[] = {1, 50, 3e3, 17e3, 117e3, 823e3, 5764801, 40353607, 282475249, 1977326743, 13841287201};

// RCCL, ROCm 7.0, all-reduces of eight MI350X by as many processes: a public note on bringing them up. The table is
// that of an older release and MI300X; the cluster's hops alone would start in 14 * 3 us whatever the size.
TEST(CollectiveAlgorithms, StartWithinANodeOfAmdAsRcclDoes) {
  Calibration without_points = table("mi350x");
  without_points.collectives.clear();
  const CollectiveModel model(servers("mi350x", 1, "xgmi", 537.6, 50), without_points);
  for (const auto& [size, measured] : {std::pair{1024.0, 13.2}, {0x1p20, 25.8}, {0x1p24, 138.2}, {0x1p27, 721.5}}) {
    const double got = microseconds_of(model.collective(shape(kReduce, size), members(1, 8)));
    EXPECT_LT(got, 2.2 * measured) << size;
    EXPECT_GT(got, 0.75 * measured) << size;
  }
  EXPECT_NEAR(model.collective(shape(kReduce, 8), members(1, 8)).latency.in(unit::microsecond), 12 + 14 * 0.8, 1e-9);
}

// A GPU of MI300X has seven links of 64 GB/s, one to each other of its node: two of them share one.
TEST(CollectiveAlgorithms, UseOnlyTheLinksBetweenMembersOfAMesh) {
  const CollectiveModel model(servers("mi300x", 2, "xgmi", 448, 50), table("mi300x"));
  const auto rate = [&](CollectiveKind kind, std::int64_t ranks) {
    const CollectiveShape of = shape(kind, 0x1p32);
    return (wire_bytes(of, ranks) / model.collective(of, members(1, ranks)).alone()).in(unit::gigabytes_per_second);
  };
  EXPECT_LE(rate(kReduce, 2), 64.0);
  EXPECT_NEAR(rate(kReduce, 2) / 64.0, 0.742, 0.01);
  EXPECT_NEAR(rate(kReduce, 8) / 448.0, 0.742, 0.01);
  EXPECT_NEAR(rate(kExchange, 4) / rate(kExchange, 8), 3.0 / 7.0, 0.01);
  const CommTime message = model.peer({.bytes = 1 << 30}, DeviceIndex(0), DeviceIndex(1));
  EXPECT_GT(message.alone(), gib(1) / bytes_per_second(64e9));
  // A context-parallel pair on two nodes needs no link of the mesh.
  EXPECT_EQ(model.collective(shape(CollectiveKind::ring_shift, 0x1p30), members(2, 1)).num_legs, 1);
}

// Eight MI350X were measured: each of them takes its seven links of 76.8 GB/s, and two of them still share one.
TEST(CollectiveAlgorithms, UseFewerLinksOfAMeshThanTheGroupThatWasMeasured) {
  const CollectiveModel model(servers("mi350x", 1, "xgmi", 537.6, 50), table("mi350x"));
  const auto rate = [&](std::int64_t ranks) {
    const CollectiveShape of = shape(kReduce, 0x1p32);
    return (wire_bytes(of, ranks) / model.collective(of, members(1, ranks)).alone()).in(unit::gigabytes_per_second);
  };
  EXPECT_NEAR(rate(8), 366.6, 2.0);
  EXPECT_LT(rate(2), 76.8);
  EXPECT_NEAR(rate(4) / rate(8), 3.0 / 7.0, 0.01);
  EXPECT_NEAR(model.collective(shape(kReduce, 0x1p20), members(1, 8)).alone().in(unit::microsecond), 25.76, 0.1);
}

/// Bytes that a member's NIC, and that all its ports together, cannot do without.
struct LeastBytes {
  double network = 0.0, all = 0.0;
};

LeastBytes least_bytes(CollectiveKind kind, double size, double nodes, double per_node) {
  const double n = nodes * per_node, others = (n - 1.0) / n;
  if (kind == kExchange) return {.network = size * (nodes - 1.0) / nodes, .all = size * others};
  if (kind == CollectiveKind::ring_shift) {  // one rank of a node sends to the next node, the others within
    const double network = nodes > 1.0 ? size : 0.0, inside = per_node > 1.0 ? size : 0.0;
    return {.network = network, .all = network + inside};
  }
  const double twice = kind == kReduce ? 2.0 : 1.0;
  return {.network = twice * size * (nodes - 1.0) / nodes / per_node, .all = twice * size * others};
}

TEST(CollectiveAlgorithms, NeverBeatTheirLinks) {
  struct Machine {
    const char* device;
    const char* kind;
    double node, nic;
    bool calibrated = true;
  };
  for (const Machine& machine :
       {Machine{"a100", "nvlink", 300, 25}, Machine{"h100", "nvlink", 450, 50}, Machine{"h800", "nvlink", 200, 50},
        Machine{"b200", "nvlink", 900, 50}, Machine{"b300", "nvlink", 450, 100}, Machine{"mi300x", "xgmi", 448, 50},
        Machine{"l40s", "pcie", 32, 25, false}}) {
    const CollectiveModel model(servers(machine.device, 16, machine.kind, machine.node, machine.nic),
                                machine.calibrated ? table(machine.device) : Calibration{});
    for (const std::int64_t nodes : {1, 2, 3, 4, 16}) {
      for (const std::int64_t per_node : {1, 2, 3, 8}) {
        if (nodes * per_node < 2) continue;
        for (const CollectiveKind kind : {kReduce, kGather, kScatter, kExchange, CollectiveKind::ring_shift}) {
          for (const double size : kSizes) {
            const CommTime time = model.collective(shape(kind, size), members(nodes, per_node));
            const LeastBytes least = least_bytes(kind, size, static_cast<double>(nodes), static_cast<double>(per_node));
            SCOPED_TRACE(fmt::format("{} {} {}x{} {}", machine.device, name_of(kind), nodes, per_node, size));
            double all = 0.0, network = 0.0;
            for (const Leg& leg : time.used_legs()) {
              const bool inside = leg.path == PathClass::node;
              EXPECT_EQ(leg.bandwidth, (inside ? machine.node : machine.nic) * unit::gigabytes_per_second);
              EXPECT_GE(time.alone(), leg.bytes / leg.bandwidth);
              all += leg.bytes.in(unit::byte);
              if (!inside) network += leg.bytes.in(unit::byte);
            }
            EXPECT_GE(network, least.network * (1.0 - 1e-12));
            EXPECT_GE(all, least.all * (1.0 - 1e-12));
            EXPECT_GT(time.latency, Seconds::zero());
          }
        }
        if (HasFailure()) return;
      }
    }
  }
}

TEST(CollectiveAlgorithms, NeverBeatTheLinksInAnExchange) {
  constexpr std::int64_t kExperts = 256, kTokens = 512, kRowBytes = 7168;
  const CollectiveModel model(servers("h800", 8, "nvlink", 200, 50), table("h800"));
  for (const std::int64_t nodes : {1, 2, 4, 8}) {
    for (const std::int64_t per_node : {2, 8}) {
      for (const std::int64_t top_k : {1, 2, 8}) {
        const std::int64_t n = nodes * per_node;
        const RoutingMatrix even =
            routing(BalancedLoad{}, {.group = n, .num_experts = kExperts, .pairs_per_rank = kTokens * top_k});
        ExchangeShape exchange{.rows = {Rows::Kind::routed, kTokens * top_k}, .row_bytes = kRowBytes, .top_k = top_k};
        const CommTime flat = model.exchange(exchange, even, members(nodes, per_node));
        exchange.two_level = true;
        const CommTime two_level = model.exchange(exchange, even, members(nodes, per_node));
        const double token = static_cast<double>(kTokens * kRowBytes), away = 1.0 - 1.0 / static_cast<double>(nodes);
        const auto over_network = [](const CommTime& time) {
          double sum = 0.0;
          for (const Leg& leg : time.used_legs()) {
            EXPECT_GE(time.alone(), leg.bytes / leg.bandwidth);
            if (leg.path != PathClass::node) sum += leg.bytes.in(unit::byte);
          }
          return sum;
        };
        SCOPED_TRACE(fmt::format("{}x{}, {} experts a token", nodes, per_node, top_k));
        EXPECT_GE(over_network(flat), token * static_cast<double>(top_k) * away);
        if (nodes == 1) {  // a copy to each other rank that has one of the experts
          const double copies = expected_distinct(kExperts, top_k, n) * (1.0 - 1.0 / static_cast<double>(n));
          EXPECT_EQ(over_network(two_level), 0.0);
          ASSERT_EQ(two_level.num_legs, 1);
          EXPECT_EQ(two_level.legs[0].bandwidth, 200.0 * unit::gigabytes_per_second);
          EXPECT_GE(two_level.legs[0].bytes.in(unit::byte), token * copies * (1.0 - 1e-12));
          EXPECT_GT(two_level.alone(), bytes(token * copies) / bytes_per_second(200e9));
          EXPECT_LE(two_level.legs[0].bytes, flat.legs[0].bytes + bytes(1));
          continue;
        }
        EXPECT_GE(over_network(two_level), token * expected_distinct(kExperts, top_k, nodes) * away);
        EXPECT_LE(over_network(two_level), over_network(flat) + 1.0);
      }
    }
  }
}

TEST(CollectiveAlgorithms, NeverBeatTheLinksOfAMessage) {
  const CollectiveModel model(servers("h100", 2, "nvlink", 450, 50), table("h100"));
  for (const double size : kSizes) {
    const PeerShape message{.bytes = static_cast<std::int64_t>(size)};
    const Bytes payload = bytes(size);
    EXPECT_GT(model.peer(message, DeviceIndex(0), DeviceIndex(1)).alone(), payload / bytes_per_second(450e9));
    EXPECT_GT(model.peer(message, DeviceIndex(0), DeviceIndex(8)).alone(), payload / bytes_per_second(50e9));
  }
}

}  // namespace
}  // namespace orrery::costmodel
