#pragma once

#include <optional>
#include <vector>

#include "core/columns.hpp"
#include "core/monitor.hpp"
#include "core/objective.hpp"

namespace pathcond {

/// F/p of a merged problem with any column values, in log space.
class ColumnObjective final : public Objective {
 public:
  ColumnObjective(const ColumnProblem& problem, std::vector<std::int32_t> coarse, Monitor& monitor);

  void evaluate(Point& point) override;
  void hessian_product(const std::vector<double>& z, std::vector<double>& out) override;
  double exponent_change(const std::vector<double>& z) override;
  SparseFactor coarse_hessian(double damping, const std::vector<char>& free) override;
  std::vector<Coupling> strong_couplings() override;
  const std::vector<std::int32_t>& coarse() const override { return coarse_; }
  std::int32_t coarse_groups() const override { return coarse_groups_; }
  double passes() const override { return passes_; }

  /// How far the gradient at the last point evaluated, which is `u`, may be off.
  double gradient_rounding(const std::vector<double>& u) const;

 private:
  void build_rows();
  void build_coarse_pattern();
  template <class Visit>
  void for_each_coarse_row(const std::vector<char>& free, const Visit& visit);
  void count();

  const ColumnProblem& problem_;
  Monitor& monitor_;
  std::vector<std::int32_t> coarse_;
  std::int32_t coarse_groups_;
  /// The merged rows of B, built when first needed: row i has the entries
  /// [row_ptr_[i], row_ptr_[i+1]).
  std::vector<std::int64_t> row_ptr_;
  std::vector<std::int32_t> row_neuron_;
  std::vector<double> row_value_;
  std::optional<SparsePattern> coarse_pattern_;
  std::vector<double> log_weight_;
  std::vector<double> pi_;       ///< of the merged rows at the last point
  std::vector<double> product_;  ///< work, one per merged row
  std::vector<double> mean_;     ///< B^T pi
  double passes_ = 0;
};

}  // namespace pathcond
