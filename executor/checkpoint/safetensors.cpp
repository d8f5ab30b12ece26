// SPDX-License-Identifier: Apache-2.0
#include "executor/checkpoint/safetensors.h"

#include "base/check.h"
#include "base/errors.h"
#include "base/json_reader.h"
#include "base/json_writer.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

namespace orrery::executor {
namespace {

constexpr std::int64_t kLengthBytes = 8;
constexpr std::int64_t kMostHeaderBytes = 100'000'000;  // the limit of the format
constexpr std::string_view kMetadata = "__metadata__";
constexpr std::int64_t kMostElements = std::int64_t{1} << 48;

static_assert(std::endian::native == std::endian::little);

std::int64_t bytes_of(StoredType type, std::span<const std::int64_t> shape) {
  std::int64_t count = 1;
  for (const std::int64_t side : shape) count *= side;
  return count * size_of(type);
}

/// Reads `size` bytes from `begin` on; returns how many there were.
std::size_t read_at(int descriptor, std::int64_t begin, void* target, std::size_t size) {
  std::size_t done = 0;
  while (done < size) {
    const ssize_t count = ::pread(descriptor, static_cast<std::byte*>(target) + done, size - done,
                                  static_cast<off_t>(begin + static_cast<std::int64_t>(done)));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    done += static_cast<std::size_t>(count);
  }
  return done;
}

}  // namespace

void write_safetensors(const std::string& path, const std::map<std::string, std::string>& metadata,
                       std::span<const TensorToWrite> tensors) {
  JsonWriter header(JsonWriter::Layout::line);
  header.begin_object();
  if (!metadata.empty()) {
    header.key(kMetadata).begin_object();
    for (const auto& [key, text] : metadata) header.field(key, text);
    header.end_object();
  }
  std::int64_t offset = 0;
  for (const TensorToWrite& tensor : tensors) {
    const std::int64_t bytes = bytes_of(tensor.type, tensor.shape);
    CHECK(bytes == static_cast<std::int64_t>(tensor.bytes.size()), tensor.name, bytes, tensor.bytes.size());
    header.key(tensor.name).begin_object().field("dtype", name_of(kStoredTypeNames, tensor.type));
    header.key("shape").begin_array();
    for (const std::int64_t side : tensor.shape) header.value(side);
    header.end_array().key("data_offsets").begin_array().value(offset).value(offset + bytes).end_array().end_object();
    offset += bytes;
  }
  header.end_object();
  std::string text = header.text();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // the tensors start at a multiple of 8

  AtomicFile file(path);
  const auto length = std::bit_cast<std::array<char, kLengthBytes>>(static_cast<std::uint64_t>(text.size()));
  file.append({length.data(), length.size()});
  file.append(text);
  for (const TensorToWrite& tensor : tensors) {
    file.append({reinterpret_cast<const char*>(tensor.bytes.data()), tensor.bytes.size()});
  }
  file.commit(AtomicFile::Durability::on_disk);
}

SafetensorsFile::SafetensorsFile(std::string path) : path_(std::move(path)) {
  descriptor_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat status = {};
  if (descriptor_ < 0 || ::fstat(descriptor_, &status) != 0) {
    const std::string reason = std::strerror(errno);
    if (descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
    fail("expected a readable file, got: " + reason);
  }
  file_bytes_ = status.st_size;
  try {
    read_header();
  } catch (...) {
    ::close(descriptor_);
    throw;
  }
}

SafetensorsFile::SafetensorsFile(SafetensorsFile&& other) noexcept
    : path_(std::move(other.path_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      file_bytes_(other.file_bytes_),
      tensors_(std::move(other.tensors_)),
      metadata_(std::move(other.metadata_)) {}

SafetensorsFile::~SafetensorsFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void SafetensorsFile::fail(const std::string& message) const {
  throw ConfigError({Problem{.file = path_, .message = message}});
}

void SafetensorsFile::read_header() {
  std::uint64_t length = 0;
  if (read_at(descriptor_, 0, &length, kLengthBytes) != kLengthBytes)
    fail(fmt::format("expected a safetensors file, got {} bytes", file_bytes_));
  if (length > static_cast<std::uint64_t>(kMostHeaderBytes) ||
      static_cast<std::int64_t>(length) + kLengthBytes > file_bytes_) {
    fail(fmt::format("expected a safetensors file, but its header would have {} bytes and the file has {}", length,
                     file_bytes_));
  }
  std::string text(length, '\0');
  if (read_at(descriptor_, kLengthBytes, text.data(), text.size()) != text.size()) fail("the file is cut off");

  JsonDocument document = JsonDocument::parse_text(text, path_);
  const JsonObject root = document.root();
  const std::int64_t data = kLengthBytes + static_cast<std::int64_t>(length);
  std::vector<std::pair<std::int64_t, std::int64_t>> extents;  // begin and end in the file
  for (const std::string& name : root.keys()) {
    const JsonObject entry = root.required(name).object();
    if (name == kMetadata) {
      for (const std::string& key : entry.keys()) metadata_[key] = entry.required(key).string();
      continue;
    }
    Tensor tensor;
    tensor.type = entry.required("dtype").one_of<StoredType>(kStoredTypeNames);
    std::int64_t count = 1;
    for (const JsonValue& side : entry.required("shape").array()) {
      tensor.shape.push_back(side.integer({.min = 0, .max = kMostElements}));
      const bool fits = tensor.shape.back() == 0 || count <= kMostElements / tensor.shape.back();
      if (!fits) side.problem("the tensor is too large");
      count = fits ? count * tensor.shape.back() : 0;
    }
    const JsonValue offsets = entry.required("data_offsets");
    const std::vector<JsonValue> ends = offsets.array();
    if (ends.size() != 2) {
      offsets.problem("expected two numbers: the first byte, and the one behind the last");
      continue;
    }
    const auto begin = ends[0].integer({.min = 0, .max = kMostElements});
    const auto end = ends[1].integer({.min = 0, .max = kMostElements});
    entry.finish();
    tensor.begin = data + begin;
    tensor.bytes = end - begin;
    if (tensor.bytes != count * size_of(tensor.type)) {
      offsets.problem(
          fmt::format("expected {} bytes, as type and shape say, got {}", count * size_of(tensor.type), tensor.bytes));
      continue;
    }
    extents.emplace_back(tensor.begin, data + end);
    tensors_[name] = std::move(tensor);
  }
  document.throw_if_problems();
  std::sort(extents.begin(), extents.end());
  std::int64_t next = data;
  for (const auto& [begin, end] : extents) {
    if (begin != next)
      fail(fmt::format("tensors must lie one behind the other: one begins at byte {}, not {}", begin, next));
    next = end;
  }
  if (next != file_bytes_) fail(fmt::format("the header describes {} bytes, the file has {}", next, file_bytes_));
}

std::vector<std::byte> SafetensorsFile::read_bytes(const std::string& name, const Tensor& tensor, std::int64_t first,
                                                   std::int64_t count) const {
  std::vector<std::byte> bytes(static_cast<std::size_t>(count));
  const std::size_t num_read = read_at(descriptor_, tensor.begin + first, bytes.data(), bytes.size());
  if (num_read != bytes.size()) {
    fail(fmt::format("tensor '{}': expected {} bytes, could read {}", name, bytes.size(), num_read));
  }
  return bytes;
}

std::vector<std::byte> SafetensorsFile::read(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) fail(fmt::format("it has no tensor '{}'", name));
  return read_bytes(name, found->second, 0, found->second.bytes);
}

std::vector<std::byte> SafetensorsFile::read_first(const std::string& name, std::int64_t most) const {
  const Tensor& tensor = tensors_.at(name);
  return read_bytes(name, tensor, 0, std::min(most, tensor.bytes));
}

std::vector<float> SafetensorsFile::read_f32(const std::string& name) const {
  const std::vector<std::byte> bytes = read(name);
  const Tensor& tensor = tensors_.at(name);
  std::vector<float> values(static_cast<std::size_t>(tensor.elements()));
  widen(tensor.type, bytes, values);
  return values;
}

void SafetensorsFile::read_f32(const std::string& name, std::int64_t first, std::span<float> out) const {
  const Tensor& tensor = tensors_.at(name);
  const auto count = static_cast<std::int64_t>(out.size());
  CHECK(first >= 0 && first + count <= tensor.elements(), name, first, count);
  const std::int64_t size = size_of(tensor.type);
  widen(tensor.type, read_bytes(name, tensor, first * size, count * size), out);
}

}  // namespace orrery::executor
